/** The package, packed, and used from another project: its types, its stores, its program. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { ErrorDocument } from '../../orchestrator/errors/failure.ts';
import { freshPair, type Pair } from '../support/databases.ts';
import { installElsewhere, packInto } from '../support/package.ts';
import { blocksOf } from '../support/readme/blocks.ts';
import { README } from '../support/readme/write.ts';
import { execute, rows } from '../support/sql.ts';

const run = promisify(execFile);
const require = createRequire(import.meta.url);
const TSC = join(dirname(require.resolve('typescript/package.json')), 'bin/tsc');
const TYPES = fileURLToPath(new URL('../../node_modules/@types', import.meta.url));

const COMPILER = {
  compilerOptions: {
    target: 'ES2023',
    module: 'NodeNext',
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [TYPES],
  },
};

/** Types that were `any` would make every expected error an unused one. */
const TYPED = `
import { createStores, type NewUser, OrgUserStore, type Stores, UserStore } from 'orchestrate-migration';
declare const stores: Stores;
export const made: NewUser = { keycloak_user_id: 'x' };
// @ts-expect-error a key is text
export const wrong: NewUser = { keycloak_user_id: 1 };
// @ts-expect-error there is no such method
export const absent = () => stores.users.getUserByName('x');
export const found: Promise<string | undefined> = stores.users.getUserByKeycloakId('x').then((u) => u?.keycloak_user_id);
export const rank: Promise<number[]> = stores.orgUsers.getUserOrgs(1).then((all) => all.map((o) => o.role_rank));
// @ts-expect-error settings have no such column
export const column = () => stores.settings.updateOrgSettings(1, { llm_modell: 'x' });
export const classes = [UserStore, OrgUserStore, createStores];
`;

const MAIN = `
import { Sequelize } from 'sequelize';
import * as after from './after.js';
import * as before from './before.js';
const sequelize = new Sequelize(process.env['URL'] ?? '', { logging: false });
try {
  const seen = [];
  for (const { chooseModel } of [before, after])
    for (const key of ['known', 'nobody']) seen.push(await chooseModel(sequelize, key, 'chosen'));
  console.log(JSON.stringify(seen));
} finally {
  await sequelize.close();
}
`;

let pair: Pair;
let directory: string;
let project: string;

beforeAll(async () => {
  pair = await freshPair();
  directory = await mkdtemp(join(tmpdir(), 'orchestrate-package-'));
  project = join(directory, 'project');
  await installElsewhere(project, await packInto(directory), { optional: false });
});
afterAll(async () => {
  await pair?.drop();
  await rm(directory, { recursive: true, force: true });
});

const orchestrate = (...args: string[]) =>
  run(join(project, 'node_modules/.bin/orchestrate'), args, {
    cwd: project,
    env: { PATH: process.env['PATH'], ORCHESTRATE_BLUE_URL: pair.blue.urls.sync },
  }).then(
    ({ stdout }) => ({ exit: 0, stdout }),
    (error: { code: number; stdout: string }) => ({ exit: error.code, stdout: error.stdout }),
  );

it('types and stores are imported from another project, and do what the README says before and after', async () => {
  const examples = blocksOf(await readFile(README, 'utf8')).filter((b) => b.language === 'ts');
  expect(examples.map((b) => b.marks.join(' '))).toEqual(['before', 'after']);
  for (const { marks, text } of examples) await writeFile(join(project, `${marks[0]}.ts`), text);
  await writeFile(join(project, 'typed.ts'), TYPED);
  await writeFile(join(project, 'main.ts'), MAIN);
  await writeFile(join(project, 'tsconfig.json'), JSON.stringify(COMPILER));
  const compiled = await run(process.execPath, [TSC, '-p', '.'], { cwd: project }).catch(
    (error: { stdout: string }) => error,
  );
  expect(compiled.stdout).toBe('');

  await execute(
    pair.blue.urls.owner,
    `INSERT INTO user_settings (keycloak_user_id, llm_model) VALUES ('known', 'old'), ('somebody else', 'theirs')`,
  );
  expect(await orchestrate('migrate', 'up', '--side', 'blue', '--json')).toMatchObject({ exit: 0 });
  const { stdout } = await run(process.execPath, ['main.js'], {
    cwd: project,
    env: { PATH: process.env['PATH'], URL: pair.blue.urls.owner },
  });
  // Both find what was migrated, each on its own model.
  expect(JSON.parse(stdout)).toEqual(['old', null, 'old', null]);
  expect(await rows(pair.blue.urls.owner, 'SELECT llm_model AS model FROM settings ORDER BY id')).toEqual([
    { model: 'chosen' },
    { model: 'theirs' },
  ]);
});

it('the program runs there, with nothing that only development needs', async () => {
  const help = await orchestrate('--help');
  expect(help.exit).toBe(0);
  expect(help.stdout).toContain('orchestrate cutover');
  const version = await orchestrate('version', '--json');
  const { version: ours } = require('../../package.json') as { version: string };
  expect(JSON.parse(version.stdout)).toEqual({ version: ours, node: process.version });
  expect((await orchestrate('--version')).stdout.trim()).toBe(ours);
});

it('without the servers, a rehearsal says the one line that adds them', async () => {
  const ended = await orchestrate('rehearse', '--embedded', '--json');
  expect(ended.exit).toBe(1);
  const { error } = JSON.parse(ended.stdout) as { error: ErrorDocument };
  expect(error.code).toBe('EMBEDDED_MISSING');
  expect(error.fix).toMatch(/^npm install --include=optional /);
});

it('a list of materials can be made of it', async () => {
  const { stdout } = await run('npm', ['run', '--silent', 'sbom'], {
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
    maxBuffer: 64 * 2 ** 20,
  });
  const { components } = JSON.parse(stdout) as {
    components: { name: string; licenses?: { license: { id?: string } }[] }[];
  };
  const names = components.map((c) => c.name);
  expect(names).toContain('pg');
  expect(names).not.toContain('vitest');
});
