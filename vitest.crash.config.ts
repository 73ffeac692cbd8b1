import { defineConfig } from 'vitest/config';
import { reporters } from './test/support/reporters.ts';

/** Whole sweeps of kills, restarts and resets over every failpoint: `npm run test:sweep`. */
export default defineConfig({
  test: {
    include: ['test/crash/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // One at a time: they measure how long writers stand still.
    maxWorkers: 1,
    testTimeout: 3_600_000,
    hookTimeout: 120_000,
    reporters: reporters(),
  },
});
