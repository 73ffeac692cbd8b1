import pg from 'pg';
import { parseEndpoint, passwordFor } from '../pg/endpoint.ts';

/** A database as the rehearsal reaches it: a URL, or the driver's configuration where TLS or a proxy needs more. */
export type Database = string | pg.ClientConfig;

/** Sessions of the generator and of the comparison print values the same way on every server. */
const TEXT_OUTPUT = `
  SELECT set_config('datestyle', 'ISO, MDY', false),
         set_config('intervalstyle', 'postgres', false),
         set_config('timezone', 'UTC', false),
         set_config('extra_float_digits', '3', false),
         set_config('bytea_output', 'hex', false),
         set_config('client_encoding', 'UTF8', false),
         set_config('statement_timeout', '0', false),
         set_config('idle_in_transaction_session_timeout', '0', false),
         set_config('row_security', 'off', false),
         set_config('search_path', $1, false)`;

function driverConfig(database: Database): pg.ClientConfig {
  if (typeof database !== 'string') return database;
  const at = parseEndpoint('blue', database);
  return {
    host: at.host,
    port: at.port,
    database: at.database,
    user: at.user,
    password: passwordFor(at),
    ssl: at.tls,
  };
}

/**
 * Opens a session as an application does: its role's own settings, nothing pinned.
 * A lost session shows as the rejection of the next query; the caller ends it.
 */
export async function openSession(database: Database, applicationName: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    ...driverConfig(database),
    application_name: applicationName,
  });
  client.on('error', () => {});
  await client.connect();
  return client;
}

/** Opens a session that reads and writes values as text; unqualified tables are looked up in `schema` alone. */
export async function openTextSession(
  database: Database,
  purpose: string,
  schema: string,
): Promise<pg.Client> {
  const client = await openSession(database, `orchestrate/rehearsal ${purpose}`);
  await client.query(TEXT_OUTPUT, [`"${schema.replaceAll('"', '""')}", pg_catalog`]);
  return client;
}

/** Every value as the server printed it: no Date, no number, no JSON.parse. */
export const RAW_TEXT: pg.CustomTypesConfig = {
  getTypeParser: (() => (value: string) => value) as unknown as typeof pg.types.getTypeParser,
};
