import { defineConfig } from 'vitest/config';
import { reporters } from './test/support/reporters.ts';

/** The long tests, which kill processes and servers: `npm run test:faults`. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts', 'test/model/**/*.test.ts', 'test/chart/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // One at a time: they measure how long writers stand still.
    maxWorkers: 1,
    testTimeout: 600_000,
    hookTimeout: 120_000,
    reporters: reporters(),
  },
});
