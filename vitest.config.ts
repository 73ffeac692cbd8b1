import { defineConfig } from 'vitest/config';
import { RealServersReporter } from './test/support/real-servers-reporter.ts';

const resultsFile = process.env['ORCHESTRATE_TEST_RESULTS'];

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Long on purpose; they have commands of their own.
    exclude: ['test/faults/**', 'test/bench/**', 'node_modules/**'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 120_000,
    reporters: [
      'default',
      new RealServersReporter(),
      // CI adds up what several runs passed and failed.
      ...(resultsFile === undefined
        ? []
        : [['json', { outputFile: resultsFile }] as [string, Record<string, unknown>]]),
    ],
  },
});
