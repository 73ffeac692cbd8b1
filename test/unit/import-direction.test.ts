import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
let scratch = '';

/** Each line: the importing file, what it imports, and whether `.oxlintrc.json` has to refuse it. */
const cases: [file: string, imported: string, refused: boolean][] = [
  ['src/mapping/columns.ts', '../../migrations/index.ts', true],
  ['src/index.ts', '../orchestrator/main.ts', true],
  ['migrations/056.ts', '../orchestrator/pg/lsn.ts', true],
  ['migrations/057.ts', '../src/index.ts', false],
  ['orchestrator/errors/catalogue.ts', '../pg/lsn.ts', true],
  ['orchestrator/config/deep/tree.ts', '../../runner/lease.ts', true],
  ['orchestrator/log/logger.ts', '../errors/catalogue.ts', false],
  ['orchestrator/pg/session.ts', '../stream/tail.ts', true],
  ['orchestrator/pg/lsn.ts', '../errors/catalogue.ts', false],
  ['orchestrator/state/store.ts', '../phases/copy.ts', true],
  ['orchestrator/copy/copier.ts', '../phases/copy.ts', true],
  ['orchestrator/verify/sweep.ts', '../stream/slot.ts', false],
  ['orchestrator/fence/lease.ts', '../rehearsal/ledger.ts', true],
  ['orchestrator/phases/sync.ts', '../runner/loop.ts', true],
  ['orchestrator/phases/sync2.ts', '../rehearsal/ledger.ts', true],
  ['orchestrator/phases/sync3.ts', '../stream/tail.ts', false],
  ['orchestrator/runner/loop.ts', '../cli/run.ts', true],
  ['orchestrator/runner/loop2.ts', '../rehearsal/ledger.ts', true],
  ['orchestrator/rehearsal/report.ts', '../runner/loop.ts', true],
  ['orchestrator/rehearsal/generator/rows.ts', '../../runner/loop.ts', true],
  ['orchestrator/rehearsal/ledger.ts', '../pg/lsn.ts', false],
  ['orchestrator/cli/rehearse.ts', '../rehearsal/ledger.ts', false],
  ['orchestrator/cli/rehearse2.ts', '../main.ts', true],
  ['orchestrator/copy/type.ts', '../phases/type-only.ts', true],
];

function lint(): string {
  try {
    execFileSync(join(root, 'node_modules/.bin/oxlint'), ['--deny-warnings', '--format=unix', '.'], {
      cwd: scratch,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return '';
  } catch (error) {
    return String((error as { stdout?: string }).stdout);
  }
}

describe('imports run one way', () => {
  let report = '';

  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), 'import-direction-'));
    cpSync(join(root, '.oxlintrc.json'), join(scratch, '.oxlintrc.json'));
    symlinkSync(join(root, 'node_modules'), join(scratch, 'node_modules'));
    for (const [file, imported] of cases) {
      mkdirSync(dirname(join(scratch, file)), { recursive: true });
      const word = imported.includes('type-only') ? 'import type' : 'import';
      writeFileSync(
        join(scratch, file),
        `${word} { thing } from '${imported}';\nexport type T = typeof thing;\n`,
      );
    }
    report = lint();
  });

  afterAll(() => rmSync(scratch, { recursive: true, force: true }));

  it.each(cases)('%s → %s refused: %s', (file, _imported, refused) => {
    const found = report
      .split('\n')
      .some((l) => l.startsWith(`${file}:`) && l.includes('no-restricted-imports'));
    expect(found).toBe(refused);
  });
});
