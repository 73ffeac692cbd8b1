import { SOURCE_COLUMNS } from '../src/mapping/columns.ts';
import { ident } from '../src/mapping/identifier.ts';
import { FENCE_FUNCTIONS } from './fence-functions.ts';
import { JOURNAL_CHAIN } from './journal-chain.ts';

/**
 * The control schema `orchestrator`, as SQL for one side.
 *
 * Both sides hold who serves (`side`), the decisions taken while they served, and the progress of the stream that
 * ends on them: progress lives where its effect lands. The rest (state, journal, requests, chunks, parked rows) is
 * on green.
 */
export const CONTROL_SCHEMA = 'orchestrator';

const parkedColumns = SOURCE_COLUMNS.map(
  (c) => `${ident(c.name)} ${c.type}${c.notNull ? ' NOT NULL' : ''}`,
).join(',\n      ');

/** Tables that both sides have. */
export const CONTROL_BOTH = `
  CREATE SCHEMA orchestrator;

  -- The only truth about who serves. Every write of ours locks this row FOR SHARE and names its epoch and
  -- generation: a zombie's late commit has to wait behind the takeover that bumps them, and then finds no row.
  CREATE TABLE orchestrator.side (
    migration  text PRIMARY KEY,
    side       text NOT NULL CHECK (side IN ('blue', 'green')),
    epoch      bigint NOT NULL DEFAULT 0,
    generation bigint NOT NULL DEFAULT 0,
    role       text NOT NULL CHECK (role IN ('serving', 'standby')),
    -- Where the stream that leaves this side starts, once it has been opened by a handover.
    position   pg_lsn,
    -- Set before anything of ours is taken away here: whoever comes next goes on with that and nothing else.
    ending     text CHECK (ending IN ('aborting', 'finalizing'))
  );

  -- What this side was like before us, so that abort and finalize can leave it so. Written once, never updated.
  CREATE TABLE orchestrator.before (
    name  text PRIMARY KEY,
    value jsonb NOT NULL
  );

  -- One row a decision taken on this side: the point of no return of a handover away from it.
  CREATE TABLE orchestrator.decision (
    generation        bigint PRIMARY KEY,
    attempt           uuid NOT NULL UNIQUE,
    kind              text NOT NULL CHECK (kind IN ('cutover', 'revert')),
    to_side           text NOT NULL CHECK (to_side IN ('blue', 'green')),
    position          pg_lsn NOT NULL,
    system_identifier text NOT NULL,
    timeline          integer NOT NULL,
    slot              text NOT NULL,
    decided_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    decided_lsn       pg_lsn NOT NULL DEFAULT pg_current_wal_insert_lsn()
  );

  -- How far the stream that ends on this side is durably applied here, and which slot of which server it reads.
  CREATE TABLE orchestrator.progress (
    direction         text PRIMARY KEY CHECK (direction IN ('forward', 'reverse')),
    slot              text NOT NULL,
    system_identifier text NOT NULL,
    timeline          integer NOT NULL,
    consistent_point  pg_lsn NOT NULL,
    lsn               pg_lsn NOT NULL,
    updated_at        timestamptz NOT NULL DEFAULT clock_timestamp()
  );

  -- Our own backends, so that a foreign session on the sync role's login stands out.
  CREATE TABLE orchestrator.session (
    pid           integer NOT NULL,
    backend_start timestamptz NOT NULL,
    purpose       text NOT NULL,
    PRIMARY KEY (pid, backend_start)
  );

  -- nextval survives the rollback of the statement that was refused, and needs no grant on a table.
  CREATE SEQUENCE orchestrator.fence_refused;
  CREATE SEQUENCE orchestrator.fence_late;

  ${FENCE_FUNCTIONS}
`;

/** Tables that only green has. */
export const CONTROL_GREEN = `
  CREATE TABLE orchestrator.lease (
    migration   text PRIMARY KEY,
    holder      text NOT NULL,
    epoch       bigint NOT NULL,
    lease_until timestamptz NOT NULL
  );

  CREATE TABLE orchestrator.run (
    migration  text PRIMARY KEY,
    phase      text NOT NULL,
    state      jsonb NOT NULL,
    since      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- The error that stopped the runner, until the next run has rechecked it.
    stopped    jsonb,
    -- The operator's word, which outlives the runner it was said to.
    paused     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
  );

  CREATE TABLE orchestrator.journal (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    migration  text NOT NULL,
    epoch      bigint NOT NULL,
    generation bigint NOT NULL,
    event      text NOT NULL,
    detail     jsonb NOT NULL DEFAULT '{}',
    by         jsonb NOT NULL DEFAULT '{}'
  );

  ${JOURNAL_CHAIN}

  CREATE TABLE orchestrator.request (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    migration   text NOT NULL,
    command     text NOT NULL,
    options     jsonb NOT NULL DEFAULT '{}',
    by          jsonb NOT NULL DEFAULT '{}',
    epoch       bigint NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at  timestamptz NOT NULL,
    status      text NOT NULL DEFAULT 'pending'
                CHECK (status IN ('pending', 'claimed', 'done', 'cancelled')),
    cancel      boolean NOT NULL DEFAULT false,
    result      jsonb
  );

  -- The queue of copy and sweep work: claimed with FOR UPDATE SKIP LOCKED by any number of workers.
  CREATE TABLE orchestrator.chunk (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    task        text NOT NULL,
    lower_id    bigint NOT NULL,
    upper_id    bigint NOT NULL,
    status      text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'done')),
    worker      text,
    rows        bigint,
    bytes       bigint,
    detail      jsonb,
    finished_at timestamptz,
    UNIQUE (task, lower_id)
  );

  -- Indexes, unique constraints and foreign keys that are away while rows are loaded, with the way back.
  CREATE TABLE orchestrator.saved_object (
    ordinal    integer PRIMARY KEY,
    kind       text NOT NULL,
    table_name text NOT NULL,
    name       text NOT NULL,
    definition text NOT NULL,
    UNIQUE (table_name, name)
  );

  -- Source rows without a forward image, whole: every row of blue is on green.
  CREATE TABLE orchestrator.parked (
      ${parkedColumns},
      reason text NOT NULL CHECK (reason IN ('null_key', 'empty_key', 'duplicate')),
      PRIMARY KEY ("id")
  );
  CREATE INDEX ON orchestrator.parked (keycloak_user_id);

  -- Which organisation and settings row are a user's own, where that is not the user's id.
  CREATE TABLE orchestrator.link (
    k           integer PRIMARY KEY,
    org_id      integer UNIQUE,
    settings_id integer UNIQUE
  );

  -- Organisations that were inserted while green served, with the user whose own one their name first said.
  CREATE TABLE orchestrator.born_org (
    org_id integer PRIMARY KEY,
    k      integer
  );
  CREATE INDEX ON orchestrator.born_org (k);

  -- Users whose constants green has changed: they are no longer compared with the rule that made them.
  CREATE TABLE orchestrator.diverged (
    table_name text NOT NULL,
    k          integer NOT NULL,
    PRIMARY KEY (table_name, k)
  );

  -- Rows of green that the old schema cannot express and that stood in the way of a delete.
  CREATE TABLE orchestrator.kept (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    k          integer NOT NULL,
    table_name text NOT NULL,
    row_text   text NOT NULL
  );

  CREATE TABLE orchestrator.sweep (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generation     bigint NOT NULL,
    lsn            pg_lsn NOT NULL,
    catalog_digest jsonb NOT NULL,
    started_at     timestamptz NOT NULL,
    finished_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    clean          boolean NOT NULL,
    void           boolean NOT NULL DEFAULT false,
    rows_compared  bigint NOT NULL,
    result         jsonb NOT NULL
  );

  CREATE TABLE orchestrator.certificate (
    generation bigint PRIMARY KEY,
    kind       text NOT NULL,
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    body       jsonb NOT NULL
  );

  -- What only the runner knows, for status: lag, delta, gates. Old ones are worth nothing.
  CREATE TABLE orchestrator.observation (
    migration text PRIMARY KEY,
    at        timestamptz NOT NULL,
    body      jsonb NOT NULL
  );

  CREATE TABLE orchestrator.counter (
    name   text NOT NULL,
    labels jsonb NOT NULL,
    value  double precision NOT NULL,
    PRIMARY KEY (name, labels)
  );
`;
