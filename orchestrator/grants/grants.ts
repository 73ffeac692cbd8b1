import { REQUESTS, requestRights, watchRights } from '../../migrations/control-rights.ts';
import { ident, literal, qualified } from '../../src/mapping/identifier.ts';
import type { Side } from '../pg/side.ts';
import { type Schemas, tablesOf } from '../state/names.ts';
import { attributes, type Platform } from './platform.ts';
import { type Login, loginOf, type Task } from './task.ts';

/** For whom, and where. */
export interface GrantsRequest {
  readonly task: Task;
  readonly platform: Platform;
  /** The login that gets the rights. */
  readonly role: string;
  /** The role that owns, or is to own, the application's tables. */
  readonly owner: string;
  readonly database: string;
  readonly schemas: Schemas;
  /** The application's login, where it is to get its rights on the tables that the owner will create. */
  readonly application?: string;
}

/** The statements of one side, in order; every one of them can be repeated. */
export interface SideGrants {
  /** Once a server, in any database, by somebody who may create roles. */
  readonly server: readonly string[];
  /** In the database, by its owner or an administrator. */
  readonly database: readonly string[];
  /** In the database, by the sync role, once `orchestrate run` has made its schema there. */
  readonly control: readonly string[];
}

/**
 * The rights of a task on one side, and nothing beyond them (DESIGN 4, "Roles"): what the tests' servers and the
 * rehearsal are set up with is what `orchestrate grants` prints.
 *
 * The sync role is a member of the owner: only an owner may create, enable and replace triggers on a table, publish it
 * and set its replica identity, and the fence's function has to be the owner's own.
 */
export function grantsOf(request: GrantsRequest, side: Side): SideGrants {
  const { task, role } = request;
  const login = loginOf(task);
  const acts = login === 'sync' || login === 'owner';
  return {
    server: [
      ...(acts ? [createIfMissing(request.owner)] : []),
      createIfMissing(role),
      ...attributes(request.platform, role, login === 'sync'),
      ...(acts ? [`GRANT ${ident(request.owner)} TO ${ident(role)}`] : []),
      // Without it the age of a stranger's transaction is hidden, and preflight says nothing of old ones.
      ...(login === 'watch' ? [`GRANT pg_read_all_stats TO ${ident(role)}`] : []),
    ],
    database: [
      // CREATE: the control schema and the publication.
      `GRANT ${login === 'sync' ? 'CONNECT, CREATE' : 'CONNECT'} ON DATABASE ${ident(request.database)} TO ${ident(role)}`,
      ...(acts ? ownersSchema(request, side) : []),
      ...(login === 'sync' ? applicationRights(request, side) : []),
      // Without it not even the name of a table can be looked up.
      ...(acts ? [] : [`GRANT USAGE ON SCHEMA ${ident(schemaOf(request, side))} TO ${ident(role)}`]),
      ...(task === 'verify' ? readRights(request, side, 'blue') : []),
    ],
    control: [...controlRights(login, task, role, side), ...guideRights(request, side)],
  };
}

function createIfMissing(role: string): string {
  return `DO ${literal(
    `BEGIN CREATE ROLE ${ident(role)}; EXCEPTION WHEN duplicate_object THEN NULL; END`,
  ).trim()}`;
}

/** The fence's function lies in the schema of the tables, and belongs to their owner. */
function ownersSchema(request: GrantsRequest, side: Side): string[] {
  const schema = schemaOf(request, side);
  const owner = ident(request.owner);
  return [
    ...(schema === 'public' ? [] : [`CREATE SCHEMA IF NOT EXISTS ${ident(schema)} AUTHORIZATION ${owner}`]),
    `GRANT USAGE, CREATE ON SCHEMA ${ident(schema)} TO ${owner}`,
  ];
}

/** The application owns nothing: an owner could drop the fence. */
function applicationRights(request: GrantsRequest, side: Side): string[] {
  if (request.application === undefined) return [];
  const to = ident(request.application);
  const schema = ident(schemaOf(request, side));
  const created = `ALTER DEFAULT PRIVILEGES FOR ROLE ${ident(request.owner)} IN SCHEMA ${schema}`;
  return [
    `GRANT CONNECT ON DATABASE ${ident(request.database)} TO ${to}`,
    `GRANT USAGE ON SCHEMA ${schema} TO ${to}`,
    `${created} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO ${to}`,
    `${created} GRANT USAGE ON SEQUENCES TO ${to}`,
  ];
}

/** `verify --guide` reads the tables itself, without a runner. */
function readRights(request: GrantsRequest, side: Side, on: Side): string[] {
  if (side !== on) return [];
  const tables = tablesOf(side, request.schemas).map((t) => qualified(t.schema, t.name));
  return [`GRANT SELECT ON ${tables.join(', ')} TO ${ident(request.role)}`];
}

/** Green's tables are made by the run. */
function guideRights(request: GrantsRequest, side: Side): string[] {
  return request.task === 'verify' ? readRights(request, side, 'green') : [];
}

function controlRights(login: Login, task: Task, role: string, side: Side): string[] {
  if (login !== 'watch' && login !== 'ask') return [];
  const command = REQUESTS.find((name) => name === task);
  return [
    ...watchRights(side, role),
    ...(side === 'green' && command !== undefined ? requestRights(command, role) : []),
  ];
}

function schemaOf({ schemas }: GrantsRequest, side: Side): string {
  return side === 'blue' ? schemas.source : schemas.org;
}
