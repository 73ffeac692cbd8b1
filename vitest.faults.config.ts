import { defineConfig } from 'vitest/config';
import { RealServersReporter } from './test/support/real-servers-reporter.ts';

/** The long tests, which kill processes and servers: `npx vitest run --config vitest.faults.config.ts`. */
export default defineConfig({
  test: {
    include: ['test/faults/**/*.test.ts'],
    globalSetup: ['test/support/global-setup.ts'],
    pool: 'forks',
    // One at a time: they measure how long writers stand still.
    maxWorkers: 1,
    testTimeout: 600_000,
    hookTimeout: 120_000,
    reporters: ['default', new RealServersReporter()],
  },
});
