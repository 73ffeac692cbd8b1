/** What production is asked to bear while rows are copied; null is no limit. */
export interface CopyLimits {
  /** Age of blue's oldest transaction that is not ours, in ms. */
  readonly transactionAgeMs: number | null;
  /** WAL that the slot makes blue keep, in bytes. */
  readonly retainedWalBytes: bigint | null;
  /** How far any of blue's own replicas is behind, in bytes of WAL. */
  readonly replicaLagBytes: bigint | null;
}

/** One look at blue; undefined is unknown. */
export interface SourceLoad {
  readonly transactionAgeMs: number | undefined;
  readonly retainedWalBytes: bigint | undefined;
  readonly replicaLagBytes: bigint | undefined;
}

/** @returns why the copy should wait, or undefined when it may go on. What is unknown holds nothing up. */
export function reasonToWait(limits: CopyLimits, load: SourceLoad): string | undefined {
  const { transactionAgeMs: age, retainedWalBytes: wal, replicaLagBytes: lag } = load;
  if (limits.transactionAgeMs !== null && age !== undefined && age > limits.transactionAgeMs)
    return `blue has a transaction older than ${limits.transactionAgeMs / 1_000} s`;
  if (limits.retainedWalBytes !== null && wal !== undefined && wal > limits.retainedWalBytes)
    return `the slot retains more than ${limits.retainedWalBytes} bytes of WAL on blue: raise the limit, or abort`;
  if (limits.replicaLagBytes !== null && lag !== undefined && lag > limits.replicaLagBytes)
    return `a replica of blue is more than ${limits.replicaLagBytes} bytes of WAL behind`;
  return undefined;
}
