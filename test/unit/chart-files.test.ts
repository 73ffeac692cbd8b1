import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { chartFiles } from '../support/chart/write.ts';

it.each(Object.keys(chartFiles()).map((f) => [f.split('/').slice(-2).join('/'), f]))(
  'helm: %s is what it has to be',
  (_name, file) => {
    expect(readFileSync(file, 'utf8') === chartFiles()[file], 'stale: run `npm run docs`').toBe(true);
  },
);
