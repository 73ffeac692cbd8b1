import type { GrantsRequest, SideGrants } from '../grants/grants.ts';
import { PLATFORMS, type Platform } from '../grants/platform.ts';
import { defaultRole, TASKS, type Task } from '../grants/task.ts';
import type { Side } from '../pg/side.ts';
import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const grants: Command = {
  name: 'grants',
  describe: SUMMARIES.grants,
  flags: {
    task: { kind: 'text', choices: TASKS, describe: 'What the login is for; run unless given' },
    role: { kind: 'text', describe: 'The login; orchestrate_sync for run and worker' },
    owner: { kind: 'text', describe: 'The role that owns the tables; app_owner unless given' },
    application: { kind: 'text', describe: "With run: the application's login, for green's new tables" },
    database: { kind: 'text', describe: 'The database; that of the URL unless given' },
    platform: {
      kind: 'text',
      choices: PLATFORMS,
      describe: 'Whose servers they are; plain unless given',
    },
    side: { kind: 'text', choices: ['blue', 'green'], describe: 'Only this side' },
  },
  options: ['source-schema', 'org-schema'],
  examples: [
    ['$0 grants --database app', 'the login of orchestrate run, which passes the fence'],
    ['$0 grants --task status --platform rds --database app', 'a login that only looks'],
    ['$0 grants --task cutover --role oncall --database app', 'a login that may ask for a cutover'],
  ],
  acts: false,
  run: print,
};

/** The statements by side, each list in order. */
export interface GrantsDocument {
  readonly task: Task;
  readonly platform: Platform;
  readonly role: string;
  readonly owner: string;
  /** The sides that were asked for. */
  readonly sides: readonly {
    readonly side: Side;
    readonly database: string;
    /** Once a server, by somebody who may create roles. */
    readonly server: readonly string[];
    /** In the database, by its owner or an administrator. */
    readonly in_database: readonly string[];
    /** In the database, by the sync role, once `orchestrate run` has begun, and again after an abort. */
    readonly in_control_schema: readonly string[];
  }[];
}

async function print({ settings, flags }: Call): Promise<Result> {
  const [{ grantsOf }, { endpointOf }, { renderGrants }, { failure }] = await Promise.all([
    import('../grants/grants.ts'),
    import('../pg/endpoints.ts'),
    import('./render/grants.ts'),
    import('../errors/failure.ts'),
  ]);
  const named = (flag: string): string | undefined => {
    const value = flags[flag];
    if (value === undefined) return undefined;
    // A longer name would be cut by the server, and the rights be another role's.
    const fits = typeof value === 'string' && value !== '' && Buffer.byteLength(value) <= 63;
    if (fits && !value.includes('\0')) return value;
    throw failure('CONFIG_INVALID', {
      message: `--${flag} cannot be used`,
      expected: 'one name of 1 to 63 bytes',
      found: typeof value === 'string' ? `${Buffer.byteLength(value)} bytes` : 'more than one value',
    });
  };
  const task = (named('task') ?? 'run') as Task;
  const application = named('application');
  const request = (side: Side): GrantsRequest => {
    const database =
      named('database') ?? (settings.urls[side] === null ? undefined : endpointOf(settings, side).database);
    if (database === undefined)
      throw failure('CONFIG_INVALID', {
        message: `the database on ${side} is not named`,
        expected: `--database NAME, or the URL of ${side}`,
        found: 'neither',
        fix: 'orchestrate grants --database NAME',
      });
    return {
      task,
      platform: (named('platform') ?? 'plain') as Platform,
      role: named('role') ?? defaultRole(task),
      owner: named('owner') ?? 'app_owner',
      database,
      schemas: settings.schemas,
      ...(application === undefined ? {} : { application }),
    };
  };
  const only = named('side') as Side | undefined;
  const sides: readonly Side[] = only === undefined ? ['blue', 'green'] : [only];
  const { platform, role, owner } = request(sides[0] ?? 'blue');
  const document: GrantsDocument = {
    task,
    platform,
    role,
    owner,
    sides: sides.map((side) => {
      const { server, database, control }: SideGrants = grantsOf(request(side), side);
      return {
        side,
        database: request(side).database,
        server,
        in_database: database,
        in_control_schema: control,
      };
    }),
  };
  return { exit: 0, document, text: () => renderGrants(document) };
}
