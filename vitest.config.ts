import { defineConfig } from 'vitest/config';
import { reporters } from './test/support/reporters.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Long on purpose; they have commands of their own.
    exclude: [
      'test/faults/**',
      'test/model/**',
      'test/chart/**',
      'test/crash/**',
      'test/bench/**',
      'node_modules/**',
    ],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    // A bound, not an expectation: whole journeys on a busy machine take their time.
    testTimeout: 240_000,
    hookTimeout: 120_000,
    reporters: reporters(),
  },
});
