import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';
import { type GrantsRequest, grantsOf, type SideGrants } from '../../grants/grants.ts';

/** One role that can log in. */
export interface Login {
  readonly name: string;
  readonly password: string;
}

/**
 * The roles of a real installation beside the superuser: `owner` owns the database and its tables, `app` is the
 * application (it reads and writes rows, and owns nothing), `sync` is ours (DESIGN 4, "Roles").
 */
export interface Logins {
  readonly owner: Login;
  readonly app: Login;
  readonly sync: Login;
}

/** Names of the roles; each has a default. */
export interface RoleNames {
  readonly owner?: string;
  readonly app?: string;
  readonly sync?: string;
}

/** A database of the four-role world: one URL a role, each with its password. */
export interface RoleDatabase {
  readonly database: string;
  readonly urls: {
    readonly superuser: string;
    readonly owner: string;
    readonly app: string;
    readonly sync: string;
  };
}

/** The server as far as these functions need it. */
export interface SuperuserAccess {
  readonly superuserUrl: string;
}

/**
 * Creates the three roles, once a server: roles belong to the cluster, not to a database. A role that exists
 * gets a new password, so earlier logins of the same names end here.
 */
export async function createRoles(server: SuperuserAccess, names: RoleNames = {}): Promise<Logins> {
  const logins: Logins = {
    owner: newLogin(names.owner ?? 'app_owner'),
    app: newLogin(names.app ?? 'app_rw'),
    sync: newLogin(names.sync ?? 'orchestrate_sync'),
  };
  const { server: statements } = syncGrants(logins, 'postgres');
  await withSession(server.superuserUrl, async (superuser) => {
    for (const login of [logins.owner, logins.app]) await createLogin(superuser, login);
    for (const statement of statements) await superuser.query(statement);
    await setPassword(superuser, logins.sync);
  });
  return logins;
}

/**
 * Creates an empty database for roles that exist: `owner` owns it (and so may create in it and in its schema
 * `public`), `app` gets its rights on whatever the owner will create there, `sync` may create schemas.
 */
export async function createDatabase(
  server: SuperuserAccess,
  database: string,
  logins: Logins,
): Promise<RoleDatabase> {
  const owner = ident(logins.owner.name);
  await withSession(server.superuserUrl, async (superuser) => {
    // template0: nobody can be connected to it, which would refuse a CREATE DATABASE that runs beside ours.
    await superuser.query(`CREATE DATABASE ${ident(database)} OWNER ${owner} TEMPLATE template0`);
  });
  const url = loginUrl(server.superuserUrl, database);
  await withSession(url(), async (superuser) => {
    for (const statement of syncGrants(logins, database).database) await superuser.query(statement);
    // An old application may empty its table, and the tests see to it that sync follows.
    await superuser.query(
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} IN SCHEMA public
         GRANT TRUNCATE ON TABLES TO ${ident(logins.app.name)}`,
    );
  });
  return {
    database,
    urls: { superuser: url(), owner: url(logins.owner), app: url(logins.app), sync: url(logins.sync) },
  };
}

/** Creates the roles and one database for them: what a rehearsal needs of each of its two servers. */
export async function setUpDatabase(
  server: SuperuserAccess,
  options: { readonly database: string } & RoleNames,
): Promise<RoleDatabase> {
  return createDatabase(server, options.database, await createRoles(server, options));
}

/** What `orchestrate grants --task run --application …` prints: the program runs here with these rights, and no others. */
function syncGrants({ owner, app, sync }: Logins, database: string): SideGrants {
  const request: GrantsRequest = {
    task: 'run',
    platform: 'plain',
    role: sync.name,
    owner: owner.name,
    application: app.name,
    database,
    schemas: { source: 'public', org: 'public' },
  };
  // The schema is the same on both sides, and so are the statements.
  return grantsOf(request, 'green');
}

async function createLogin(superuser: pg.Client, login: Login): Promise<void> {
  const { rowCount } = await superuser.query('SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1', [
    login.name,
  ]);
  await superuser.query(
    `${rowCount === 0 ? 'CREATE' : 'ALTER'} ROLE ${ident(login.name)}
       LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT NOREPLICATION`,
  );
  await setPassword(superuser, login);
}

async function setPassword(superuser: pg.Client, { name, password }: Login): Promise<void> {
  await superuser.query(`ALTER ROLE ${ident(name)} PASSWORD ${pg.escapeLiteral(password)}`);
}

function newLogin(name: string): Login {
  return { name, password: randomBytes(18).toString('hex') };
}

/** URLs of one database of the server: the superuser's, or a login's. */
function loginUrl(superuserUrl: string, database: string): (login?: Login) => string {
  return (login) => {
    const url = new URL(superuserUrl);
    url.pathname = `/${encodeURIComponent(database)}`;
    if (login !== undefined) {
      url.username = encodeURIComponent(login.name);
      url.password = encodeURIComponent(login.password);
    }
    return url.href;
  };
}

async function withSession(url: string, work: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}
