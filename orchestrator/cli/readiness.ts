import type pg from 'pg';
import type { Settings } from '../config/settings.ts';
import type { Health } from '../metrics/server.ts';
import { connect } from '../pg/connect.ts';
import { endpointOf } from '../pg/endpoints.ts';
import { SIDES, type Side } from '../pg/side.ts';

/** Answers are kept this long, so that probing costs the databases nothing worth mentioning. */
const KEPT_MS = 2_000;

/** Whether both databases can be asked something, by one idle session each; never whether sync keeps up. */
export function readiness(settings: Settings): { ready: () => Promise<Health>; close: () => Promise<void> } {
  const sessions: Partial<Record<Side, pg.Client>> = {};
  let answer: { at: number; health: Promise<Health> } | undefined;

  async function reaches(side: Side): Promise<boolean> {
    try {
      sessions[side] ??= await connect(endpointOf(settings, side), {
        purpose: 'ready',
        settings: { statement_timeout: '2s' },
        shortKeepalive: true,
      });
      await sessions[side].query('SELECT 1');
      return true;
    } catch {
      const broken = sessions[side];
      delete sessions[side];
      broken?.end().catch(() => {});
      return false;
    }
  }

  async function look(): Promise<Health> {
    const reached = await Promise.all(SIDES.map(reaches));
    const lost = SIDES.filter((_, i) => !reached[i]);
    return lost.length === 0
      ? { ok: true, detail: 'both databases answer' }
      : { ok: false, detail: `no answer from ${lost.join(' and ')}` };
  }

  return {
    ready: () => {
      if (answer === undefined || Date.now() - answer.at > KEPT_MS)
        answer = { at: Date.now(), health: look() };
      return answer.health;
    },
    close: async () => {
      await answer?.health;
      await Promise.all(Object.values(sessions).map((client) => client.end().catch(() => {})));
    },
  };
}
