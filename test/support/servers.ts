/** What the global setup hands to every test file. */
import { appendFile } from 'node:fs/promises';
import { expect, inject } from 'vitest';
import type { Logins } from '../../orchestrator/rehearsal/embedded/roles.ts';
import type { Major } from '../../orchestrator/rehearsal/embedded/server.ts';

/** One of the two servers that run during the whole test run. */
export interface SharedServer {
  readonly major: Major;
  readonly version: string;
  readonly superuserUrl: string;
  readonly logins: Logins;
}

/** Only what survives the way from the main process to the workers: plain data. */
export interface SharedServers {
  readonly blue: SharedServer;
  readonly green: SharedServer;
  /** A file that collects the paths of the test files which used a real server. */
  readonly usersFile: string;
}

declare module 'vitest' {
  export interface ProvidedContext {
    servers: SharedServers;
  }
}

/**
 * Settings of every test server beyond the defaults. Prepared transactions are part of what the product has to
 * notice, so they must be possible.
 */
export const TEST_SETTINGS = {
  max_prepared_transactions: '10',
  max_connections: '200',
  max_wal_senders: '30',
  max_replication_slots: '30',
  shared_buffers: '64MB',
};

/** Majors of the two sides; `ORCHESTRATE_TEST_BLUE` and `ORCHESTRATE_TEST_GREEN` choose others. */
export function testMajors(): { blue: Major; green: Major } {
  return {
    blue: Number(process.env['ORCHESTRATE_TEST_BLUE'] ?? 15) as Major,
    green: Number(process.env['ORCHESTRATE_TEST_GREEN'] ?? 18) as Major,
  };
}

/** The shared servers, noting that the calling test file uses real ones (for the count at the end of the run). */
export async function sharedServers(): Promise<SharedServers> {
  const servers = inject('servers');
  await noteRealServers();
  return servers;
}

/** Notes that the calling test file runs against real servers. */
export async function noteRealServers(): Promise<void> {
  const { testPath } = expect.getState();
  if (testPath !== undefined) await appendFile(inject('servers').usersFile, `${testPath}\n`);
}
