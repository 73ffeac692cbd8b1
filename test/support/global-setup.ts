import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { createRoles } from '../../orchestrator/rehearsal/embedded/roles.ts';
import {
  type EmbeddedServer,
  type Major,
  startServer,
} from '../../orchestrator/rehearsal/embedded/server.ts';
import { buildProgram } from './program.ts';
import { type SharedServer, TEST_SETTINGS, testMajors } from './servers.ts';

/** Builds the program, boots the two servers that all test files share, and returns what ends them. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const majors = testMajors();
  const [build, blue, green] = await Promise.allSettled([
    buildProgram(),
    boot(majors.blue),
    boot(majors.green),
  ]);
  const servers = [blue, green].flatMap((started) =>
    started.status === 'fulfilled' ? [started.value.server] : [],
  );
  const end = async (): Promise<void> => {
    await Promise.all(servers.map((server) => server.remove()));
  };
  for (const outcome of [build, blue, green]) {
    if (outcome.status === 'rejected') {
      await end();
      throw outcome.reason;
    }
  }
  if (blue.status === 'rejected' || green.status === 'rejected') throw new Error('unreachable');

  const notes = await mkdtemp(join(tmpdir(), 'orchestrate-tests-'));
  const usersFile = join(notes, 'files-with-real-servers');
  await writeFile(usersFile, '');
  project.provide('servers', { blue: blue.value.shared, green: green.value.shared, usersFile });
  return async () => {
    await end();
    await rm(notes, { recursive: true, force: true });
  };
}

async function boot(major: Major): Promise<{ server: EmbeddedServer; shared: SharedServer }> {
  const server = await startServer({ major, fsync: false, settings: TEST_SETTINGS });
  try {
    const logins = await createRoles(server);
    const { version, superuserUrl } = server;
    return { server, shared: { major, version, superuserUrl, logins } };
  } catch (error) {
    await server.remove();
    throw error;
  }
}
