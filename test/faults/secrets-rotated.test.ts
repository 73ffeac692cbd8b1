/** Secrets that are changed under a runner: it goes on by itself as soon as both sides of the change have been made. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadUsers } from '../../orchestrator/rehearsal/generator.ts';
import type { HandoverDocument } from '../../orchestrator/state/documents.ts';
import { ident } from '../../src/mapping/identifier.ts';
import { type OwnPair, ownPair } from '../support/databases.ts';
import { type Journey, journey, type Running } from '../support/journey.ts';
import { execute, rows, withClient } from '../support/sql.ts';
import { until } from '../support/until.ts';

const SIDES = ['blue', 'green'] as const;
let scratch = '';
let pair: OwnPair;
let running: Running | undefined;

beforeEach(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'rotated-'));
  pair = await ownPair();
  await withClient(pair.blue.urls.owner, (client) => loadUsers(client, { users: 200, seed: 'rotated' }));
});

afterEach(async () => {
  running?.kill('SIGKILL');
  await running?.ended;
  await pair.drop();
  rmSync(scratch, { recursive: true, force: true });
});

/** As a mounted secret is replaced: in one move. */
function replace(name: string, text: string): string {
  const path = join(scratch, name);
  writeFileSync(`${path}.next`, text, { mode: 0o600 });
  renameSync(`${path}.next`, path);
  return path;
}

const withPassword = (side: 'blue' | 'green', password: string): string => {
  const url = new URL(pair[side].urls.sync);
  url.password = encodeURIComponent(password);
  return url.href;
};

/** Blue's secret is a URL in a file, green's a line of a password file: one of each. */
function write(password: string): Record<string, string> {
  const { username } = new URL(pair.green.urls.sync);
  return {
    ORCHESTRATE_BLUE_URL: '',
    ORCHESTRATE_BLUE_URL_FILE: replace('blue', withPassword('blue', password)),
    ORCHESTRATE_GREEN_URL: withPassword('green', ''),
    PGPASSFILE: replace('pgpass', `*:*:*:${username}:${password.replaceAll(/[\\:]/g, '\\$&')}\n`),
  };
}

async function setPassword(password: string): Promise<void> {
  for (const side of SIDES)
    await execute(
      pair[side].urls.superuser,
      `ALTER ROLE ${ident(pair[side].roles.sync)} PASSWORD ${pg.escapeLiteral(password)}`,
    );
}

/** The sessions whose loss ends a runner, because it cannot know any more whether it holds the lease (DESIGN 4). */
const VITAL = ['orchestrate/lease', 'orchestrate/control'];

const END_SESSIONS = `
  SELECT pg_terminate_backend(pid, 10000)
  FROM pg_stat_activity
  WHERE usename = $1 AND application_name <> ALL ($2)`;

const STREAM = `
  SELECT FROM pg_stat_activity
  WHERE usename = $1 AND (application_name LIKE 'orchestrate/apply-%' OR application_name LIKE 'orchestrate/lag-%')`;

/**
 * Waits until the stream has a session on each side, ends all that there are on both, and waits for their end, so that
 * the program has to log in anew. @param but those that stay
 */
async function endSessions(but: readonly string[] = VITAL): Promise<void> {
  const onBoth = (sql: string, ...more: unknown[]) =>
    Promise.all(SIDES.map((side) => rows(pair[side].urls.superuser, sql, [pair[side].roles.sync, ...more])));
  await until(
    'the stream to be on both sides',
    async () => (await onBoth(STREAM)).every((sessions) => sessions.length > 0),
    90_000,
  );
  await onBoth(END_SESSIONS, but);
}

const follows = (language: string) =>
  until(
    'green to have what was written on blue',
    async () => {
      if (running?.process.exitCode !== null)
        throw new Error(`run ended with ${running?.process.exitCode}: ${running?.stderr().slice(-3000)}`);
      const found = await rows<{ language: string }>(
        pair.green.urls.superuser,
        'SELECT language FROM settings WHERE id = 7',
      );
      return found[0]?.language === language;
    },
    90_000,
  );

const write7 = (language: string) =>
  execute(pair.blue.urls.app, `UPDATE user_settings SET language = '${language}' WHERE id = 7`);

it('a password is rotated, files first or server first, and sync goes on without anybody', {
  timeout: 300_000,
}, async () => {
  await setPassword('one:of\\many @%/');
  const j: Journey = journey(pair, undefined, write('one:of\\many @%/'));
  running = j.run();
  await j.ready(running);
  await write7('r0');
  await follows('r0');

  // The files first: whoever logs in meanwhile is refused until the server follows.
  write('two = "2"');
  await setPassword('two = "2"');
  await endSessions();
  await write7('r1');
  await follows('r1');

  // The server first, and its sessions ended: for a while every login is refused.
  await setPassword('three:3');
  await endSessions();
  await write7('r2');
  await until(
    'a refused login',
    () => /28P01|AUTHENTICATION|refused/.test(running?.stderr().slice(-20_000) ?? ''),
    60_000,
  );
  write('three:3');
  await follows('r2');
  const { pid } = running.process;

  // All of them: the lease is lost with its session, and whoever supervises the program starts it again.
  write('four 4+4');
  await setPassword('four 4+4');
  await endSessions([]);
  const lost = await running.ended;
  expect([4, 7]).toContain(lost.exit);
  running = j.run();
  expect(running.process.pid).not.toBe(pid);
  await write7('r3');
  await follows('r3');

  // The whole of a handover logs in anew on both sides.
  const over = await j.command('cutover', '--yes', '--json', '--accept-parked', 'all');
  expect([over.exit, over.json<HandoverDocument>().outcome]).toEqual([0, 'done']);
  running.kill('SIGTERM');
  const ended = await running.ended;
  expect(ended.exit).toBe(143);
  for (const secret of ['many', 'two = ', 'three:3', 'four 4'])
    expect(lost.stderr + ended.stderr).not.toContain(secret);
});
