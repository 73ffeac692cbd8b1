import { describe, expect, it } from 'vitest';
import { Pace } from '../../orchestrator/copy/pace.ts';

describe('the pace of a copy', () => {
  it('without a limit owes nothing', () => {
    expect(new Pace(undefined).owe(1e9, 0)).toBe(0);
    expect(new Pace(undefined).after(1e9, new AbortController().signal)).toBeUndefined();
  });

  it('lets as many bytes a second pass as it was told, whoever asks', () => {
    const pace = new Pace(1_000_000);
    let now = 0;
    let bytes = 0;
    while (now < 10_000) {
      now += pace.owe(65_536, now);
      bytes += 65_536;
    }
    expect(bytes / 10).toBeGreaterThan(950_000);
    expect(bytes / 10).toBeLessThan(1_050_000);
  });

  it('does not save up what was not used, so that no burst follows a pause', () => {
    const pace = new Pace(1_000);
    expect(pace.owe(1_000, 0)).toBe(1_000);
    expect(pace.owe(1_000, 60_000)).toBe(1_000);
  });

  it('stops waiting when the copy is told to end', async () => {
    const stop = new AbortController();
    const wait = new Pace(1).after(1_000_000, stop.signal);
    stop.abort();
    await expect(wait).rejects.toThrow(/aborted/);
  });
});
