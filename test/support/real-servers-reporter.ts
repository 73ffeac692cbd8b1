import { readFileSync } from 'node:fs';
import type { Reporter, TestModule, Vitest } from 'vitest/node';

/**
 * Prints how many tests ran against real servers: the promise of this suite is that none of those is a mock, and a
 * run in which the servers were quietly skipped must not look like one that had them.
 */
export class RealServersReporter implements Reporter {
  #vitest: Vitest | undefined;

  onInit(vitest: Vitest): void {
    this.#vitest = vitest;
  }

  onTestRunEnd(modules: readonly TestModule[]): void {
    const { servers } = this.#vitest?.getRootProject().getProvidedContext() ?? {};
    if (servers === undefined) return;
    const users = new Set(readFileSync(servers.usersFile, 'utf8').split('\n'));
    let tests = 0;
    for (const module of modules) {
      if (!users.has(module.moduleId)) continue;
      for (const test of module.children.allTests()) {
        if (['passed', 'failed'].includes(test.result().state)) tests++;
      }
    }
    const versions = `PostgreSQL ${servers.blue.version}, ${servers.green.version}`;
    process.stdout.write(`${tests} tests ran against real servers (${versions})\n`);
  }
}
