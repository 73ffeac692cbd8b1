import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { freshPair, type Pair } from '../support/databases.ts';
import { rows } from '../support/sql.ts';

describe('embedded', () => {
  let pair: Pair;
  beforeAll(async () => {
    pair = await freshPair();
  });
  afterAll(async () => pair.drop());
  it('works', async () => {
    expect(await rows(pair.blue.urls.app, 'select count(*)::int as n from user_settings')).toEqual([
      { n: 0 },
    ]);
    expect(await rows(pair.green.urls.sync, 'select current_user as u')).toEqual([{ u: 'orchestrate_sync' }]);
  });
});
