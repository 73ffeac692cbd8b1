import type { ClientBase } from 'pg';
import { type Finding, type SideFacts, stop, warn } from './finding.ts';

const FACTS = `
  SELECT current_setting('server_version_num')::integer AS version,
         pg_is_in_recovery() AS in_recovery,
         coalesce($1, session_user)::text AS login,
         coalesce($1 <> session_user, false) AS of_another,
         current_database()::text AS database`;

/**
 * Reads what the other checks need to know.
 * @param login the login that will run the migration; the session's own unless given.
 */
export async function readFacts(
  client: ClientBase,
  side: SideFacts['side'],
  login?: string,
): Promise<SideFacts> {
  const { rows } = await client.query<{
    version: number;
    in_recovery: boolean;
    login: string;
    of_another: boolean;
    database: string;
  }>(FACTS, [login ?? null]);
  const row = rows[0];
  if (!row) throw new Error('the server said nothing about itself');
  return {
    side,
    version: row.version,
    inRecovery: row.in_recovery,
    login: row.login,
    ofAnother: row.of_another,
    database: row.database,
  };
}

const SERVER = `
  SELECT current_setting('wal_level') AS wal_level,
         current_setting('max_replication_slots')::integer AS max_slots,
         (SELECT count(*)::integer FROM pg_replication_slots WHERE NOT slot_name = ANY ($1)) AS used_slots,
         current_setting('max_wal_senders')::integer AS max_senders,
         (SELECT count(*)::integer FROM pg_stat_replication WHERE usename IS DISTINCT FROM session_user) AS used_senders,
         current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true)::integer, 0) AS usable_connections,
         (SELECT count(*)::integer FROM pg_stat_activity WHERE datid IS NOT NULL) AS used_connections,
         least(nullif(r.rolconnlimit, -1), nullif(d.datconnlimit, -1)) AS connection_limit,
         (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout') AS sender_timeout_ms,
         coalesce((SELECT setting::bigint FROM pg_settings WHERE name = 'idle_replication_slot_timeout'), 0) AS idle_slot_timeout,
         (SELECT setting::bigint FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_mb,
         pg_encoding_to_char(d.encoding) AS encoding,
         current_setting('fsync') AS fsync,
         age(d.datfrozenxid) AS frozen_age,
         current_setting('autovacuum_freeze_max_age')::bigint AS freeze_max_age,
         (SELECT count(*)::integer FROM pg_replication_slots WHERE slot_type = 'physical') AS physical_slots,
         (SELECT count(*)::integer FROM pg_replication_slots
          WHERE NOT slot_name = ANY ($1) AND wal_status IN ('lost', 'unreserved')) AS sick_slots
  FROM pg_database AS d
  JOIN pg_roles AS r ON r.rolname = session_user
  WHERE d.datname = current_database()`;

interface ServerRow {
  readonly wal_level: string;
  readonly max_slots: number;
  readonly used_slots: number;
  readonly max_senders: number;
  readonly used_senders: number;
  readonly usable_connections: number;
  readonly used_connections: number;
  readonly connection_limit: number | null;
  readonly sender_timeout_ms: string;
  readonly idle_slot_timeout: string;
  readonly keep_mb: string;
  readonly encoding: string;
  readonly frozen_age: number;
  readonly freeze_max_age: string;
  readonly physical_slots: number;
  readonly sick_slots: number;
}

/** One stream, one sweep's temporary slot, at the same time. */
const NEEDED_SLOTS = 2;
const NEEDED_SENDERS = 2;
/** Lease, control, journal, stream, retention and the verifier's sessions, beside the copy workers. */
const OWN_CONNECTIONS = 12;
const SMALL_TIMEOUT_MS = 10_000n;
const SMALL_KEEP_MB = 4_096n;

/** Version, role of the server, room for what we need, and settings that can end a run. */
export async function checkServer(
  client: ClientBase,
  facts: SideFacts,
  slots: readonly string[],
  copyWorkers: number,
): Promise<Finding[]> {
  const { side } = facts;
  const findings: Finding[] = [];
  if (facts.version < 150_000 || facts.version >= 190_000)
    findings.push(
      stop('version', side, {
        expected: 'PostgreSQL 15 to 18',
        found: `server_version_num ${facts.version}`,
        fix: `upgrade ${side}, or point --${side}-url at a server of a supported version`,
      }),
    );
  if (facts.inRecovery)
    findings.push(
      stop('recovery', side, {
        expected: 'a primary',
        found: 'a server in recovery (a standby)',
        fix: `point --${side}-url at the primary (SELECT pg_is_in_recovery() must be false)`,
      }),
    );
  const { rows } = await client.query<ServerRow>(SERVER, [slots]);
  const s = rows[0];
  if (!s) throw new Error('the server said nothing about its settings');
  return [...findings, ...room(s, side, copyWorkers), ...settings(s, side, facts)];
}

function room(s: ServerRow, side: SideFacts['side'], copyWorkers: number): Finding[] {
  const findings: Finding[] = [];
  if (s.wal_level !== 'logical')
    findings.push(
      stop('wal_level', side, {
        expected: 'wal_level = logical',
        found: `wal_level = ${s.wal_level}`,
        fix: `ALTER SYSTEM SET wal_level = 'logical'; then restart ${side}`,
      }),
    );
  const short = (check: string, name: string, max: number, used: number, need: number) => {
    if (max - used < need)
      findings.push(
        stop(check, side, {
          expected: `${need} free of ${name}`,
          found: `${name} = ${max}, ${used} in use`,
          fix: `ALTER SYSTEM SET ${name} = ${used + need + 2}; then restart ${side}`,
        }),
      );
  };
  short('slots', 'max_replication_slots', s.max_slots, s.used_slots, NEEDED_SLOTS);
  short('senders', 'max_wal_senders', s.max_senders, s.used_senders, NEEDED_SENDERS);
  const need = copyWorkers * 2 + OWN_CONNECTIONS;
  short('connections', 'max_connections', s.usable_connections, s.used_connections, need);
  if (s.connection_limit !== null && s.connection_limit < need)
    findings.push(
      stop('connection-limit', side, {
        expected: `a connection limit of at least ${need} for our login and the database`,
        found: `${s.connection_limit}`,
        fix: `ALTER ROLE … CONNECTION LIMIT ${need}; ALTER DATABASE … CONNECTION LIMIT -1`,
      }),
    );
  return findings;
}

function settings(s: ServerRow, side: SideFacts['side'], facts: SideFacts): Finding[] {
  const findings: Finding[] = [];
  const timeout = BigInt(s.sender_timeout_ms);
  if (timeout > 0n && timeout < SMALL_TIMEOUT_MS)
    findings.push(
      warn('wal_sender_timeout', side, {
        expected: `wal_sender_timeout of at least ${SMALL_TIMEOUT_MS} ms, or 0`,
        found: `${timeout} ms`,
        fix: `ALTER ROLE ${facts.login} SET wal_sender_timeout = '60s'`,
      }),
    );
  if (BigInt(s.idle_slot_timeout) > 0n)
    findings.push(
      warn('idle_slot_timeout', side, {
        expected: 'idle_replication_slot_timeout = 0: a paused run keeps its slot',
        found: `idle_replication_slot_timeout = ${s.idle_slot_timeout}`,
        fix: `ALTER SYSTEM SET idle_replication_slot_timeout = 0; SELECT pg_reload_conf()`,
      }),
    );
  const keep = BigInt(s.keep_mb);
  if (keep >= 0n && keep < SMALL_KEEP_MB)
    findings.push(
      warn('retention', side, {
        expected: `max_slot_wal_keep_size of at least ${SMALL_KEEP_MB} MB, or enough for the whole copy`,
        found: `${keep} MB: the server gives our slot up when it retains more`,
        fix: `ALTER SYSTEM SET max_slot_wal_keep_size = '${SMALL_KEEP_MB * 4n}MB'; SELECT pg_reload_conf()`,
      }),
    );
  if (s.encoding !== 'UTF8')
    findings.push(
      (s.encoding === 'SQL_ASCII' || side === 'green' ? stop : warn)('encoding', side, {
        expected: 'a database in UTF8',
        found: s.encoding,
        fix:
          side === 'green'
            ? `CREATE DATABASE ${facts.database} ENCODING 'UTF8' TEMPLATE template0`
            : 'check that every text is valid, then dump and restore into a UTF8 database',
      }),
    );
  if (BigInt(s.frozen_age) > BigInt(s.freeze_max_age))
    findings.push(
      warn('wraparound', side, {
        expected: `age(datfrozenxid) below autovacuum_freeze_max_age (${s.freeze_max_age})`,
        found: `${s.frozen_age}: an anti-wraparound vacuum does not yield to the freeze`,
        fix: `VACUUM (FREEZE) on ${side} before the cutover`,
      }),
    );
  if (s.sick_slots > 0)
    findings.push(
      warn('foreign-slots', side, {
        expected: 'no lost slot of others',
        found: `${s.sick_slots} lost or about to be`,
        fix: `SELECT slot_name, wal_status FROM pg_replication_slots`,
      }),
    );
  if (s.physical_slots > 0)
    findings.push(
      warn('failover', side, {
        expected: 'no failover during the run',
        found: `${s.physical_slots} physical slots: a promoted standby does not have our logical slot`,
        fix: 'after a failover: orchestrate abort, then start the migration anew',
      }),
    );
  return findings;
}
