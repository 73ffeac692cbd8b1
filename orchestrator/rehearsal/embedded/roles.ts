import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { ident } from '../../../src/mapping/identifier.ts';

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
  const owner = ident(logins.owner.name);
  const sync = ident(logins.sync.name);
  await withSession(server.superuserUrl, async (superuser) => {
    await createLogin(superuser, logins.owner, 'NOREPLICATION');
    await createLogin(superuser, logins.app, 'NOREPLICATION');
    await createLogin(superuser, logins.sync, 'REPLICATION');
    // From 16 on the options belong to the grant. Before, INHERIT is the role's own attribute and its default.
    const { rows } = await superuser.query<{ version: number }>(
      `SELECT current_setting('server_version_num')::integer AS version`,
    );
    const options = (rows[0]?.version ?? 0) >= 160_000 ? ' WITH INHERIT TRUE, SET TRUE' : '';
    await superuser.query(`GRANT ${owner} TO ${sync}${options}`);
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
  const quoted = ident(database);
  const owner = ident(logins.owner.name);
  const app = ident(logins.app.name);
  const sync = ident(logins.sync.name);
  await withSession(server.superuserUrl, async (superuser) => {
    // template0: nobody can be connected to it, which would refuse a CREATE DATABASE that runs beside ours.
    await superuser.query(`CREATE DATABASE ${quoted} OWNER ${owner} TEMPLATE template0`);
    await superuser.query(`GRANT CREATE, CONNECT, TEMPORARY ON DATABASE ${quoted} TO ${sync}`);
  });
  const url = loginUrl(server.superuserUrl, database);
  await withSession(url(), async (superuser) => {
    await superuser.query(
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} IN SCHEMA public
         GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON TABLES TO ${app}`,
    );
    await superuser.query(
      `ALTER DEFAULT PRIVILEGES FOR ROLE ${owner} IN SCHEMA public
         GRANT USAGE ON SEQUENCES TO ${app}`,
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

async function createLogin(superuser: pg.Client, login: Login, replication: string): Promise<void> {
  const role = ident(login.name);
  const { rowCount } = await superuser.query('SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = $1', [
    login.name,
  ]);
  const verb = rowCount === 0 ? 'CREATE' : 'ALTER';
  await superuser.query(
    `${verb} ROLE ${role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT ${replication}
       PASSWORD ${pg.escapeLiteral(login.password)}`,
  );
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
