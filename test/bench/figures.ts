/** What every benchmark says of the machine and of its figures. */
import { readFileSync } from 'node:fs';
import os from 'node:os';

export const machine = () => ({
  cpus: os.cpus().length,
  model: os.cpus()[0]?.model,
  memory_gib: Math.round(os.totalmem() / 2 ** 30),
  node: process.version,
  load: os.loadavg().map((l) => Number(l.toFixed(1))),
});

/** @returns the value below which that share of all values lies, by the nearest rank. */
export function share(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? Number.NaN;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? 0) + (sorted[Math.floor(middle)] ?? 0)) / 2;
}

/** @returns MiB of the largest resident set that a process has had; 0 when it has ended. */
export function peakMib(pid: number | undefined): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1_024;
  } catch {
    return 0;
  }
}
