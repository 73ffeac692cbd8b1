import { expect, it } from 'vitest';
import { factsOf } from '../../orchestrator/log/facts.ts';

it('reads as a sentence: what is simply so first, times as fine as anybody wants them, nothing that moves a cursor', () => {
  const asked_by = { pid: 4606, os_user: 'root', reason: 'two words' };
  expect(
    factsOf({ rows: 40_000, started: true, ok: false, seconds: 9.279255646, at: '0/33C9608', asked_by }),
  ).toEqual([
    'started',
    'rows=40000',
    'ok=false',
    'seconds=9.279',
    'at=0/33C9608',
    'asked_by={pid=4606 os_user=root reason="two words"}',
  ]);
  expect(factsOf({ text: '\u001b[2J' })).toEqual(['text="\\u001b[2J"']);
  expect(factsOf({ list: ['a', 'b'], none: null })).toEqual(['list=["a","b"]', 'none=null']);
});
