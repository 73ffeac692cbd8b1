/**
 * Runs a TypeScript program of test/support: `node test/support/run-typescript.mjs FILE [ARGUMENT…]`. Its `main` gets
 * the arguments. Node 20 does not read TypeScript itself; vite, which the tests have anyway, does.
 */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runnerImport } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [file, ...args] = process.argv.slice(2);
const { module } = await runnerImport(resolve(root, file), { root, configFile: false, logLevel: 'error' });
process.exitCode = await module.main(args);
