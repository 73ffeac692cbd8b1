/** The package in a project of somebody else, with the optional servers: one command is a whole rehearsal. */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { RehearsalReport } from '../../orchestrator/rehearsal/report.ts';
import { installElsewhere, packInto } from '../support/package.ts';

const run = promisify(execFile);

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'orchestrate-package-'));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

it('installed without scripts, npx orchestrate rehearse --embedded goes through', async () => {
  const project = join(directory, 'project');
  await installElsewhere(project, await packInto(directory), { optional: true });
  const { stdout } = await run(
    'npx',
    [
      '--no-install',
      'orchestrate',
      'rehearse',
      '--embedded',
      '--users',
      '500',
      '--rate',
      '20',
      '--soak',
      '1s',
      '--report',
      'report',
      '--json',
    ],
    {
      cwd: project,
      env: { PATH: process.env['PATH'], HOME: process.env['HOME'], NO_UPDATE_NOTIFIER: '1' },
      maxBuffer: 64 * 2 ** 20,
    },
  );
  const { verdict, failures, handovers } = JSON.parse(stdout) as RehearsalReport;
  expect([verdict, failures]).toEqual(['passed', []]);
  expect(handovers).toHaveLength(3);
  expect(await readFile(join(project, 'report/report.md'), 'utf8')).toContain('500');
});
