import { SIDES, type Side } from '../pg/side.ts';
import { openLook } from './embedded-pair.ts';
import type { Scene } from './scene.ts';
import { passGates, watchOver } from './stages.ts';

/** What a rehearsal may do to the program before each handover. */
export const FAULTS = ['none', 'kill-runner', 'cut-connections'] as const;
export type Fault = (typeof FAULTS)[number];

/** Every session of the program, by the name it gives from its first packet on; ours say `rehearsal`. */
const CUT = `
  SELECT count(*) FILTER (WHERE pg_terminate_backend(pid))::integer AS cut
  FROM pg_stat_activity
  WHERE datname = current_database() AND application_name LIKE 'orchestrate/%'
    AND application_name NOT LIKE 'orchestrate/rehearsal%'`;

/** @returns how many sessions it ended, of both sides. */
async function cutSessions({ pair }: Scene): Promise<number> {
  let all = 0;
  for (const side of SIDES) {
    const client = await openLook(pair.urls[side].superuser);
    try {
      const { rows } = await client.query<{ cut: number }>(CUT);
      all += rows[0]?.cut ?? 0;
    } finally {
      await client.end();
    }
  }
  return all;
}

/** Does it, brings a runner back where none is left, and waits until every gate is passed again (I12). */
export async function disturb(scene: Scene, serving: Side): Promise<void> {
  const { book, stop, fault, pair, program } = scene;
  if (fault === 'none') return;
  await book.stage(
    fault,
    async () => {
      const { run } = scene;
      scene.restarting = true;
      let done = '';
      if (fault === 'kill-runner') process.kill(run.pid, 'SIGKILL');
      else done = `${await cutSessions(scene)} sessions cut: `;
      // A runner that has lost its lease ends with 7, as it has to; one that could hold on to it goes on.
      const ended = await Promise.race([run.ended, stop.pass(fault === 'kill-runner' ? 30_000 : 5_000)]);
      scene.restarting = false;
      if (typeof ended !== 'number') return `${done}the runner went on`;
      scene.run = program.run();
      pair.guard(scene.run.pid);
      watchOver(scene);
      return `${done}the runner ended with ${ended}, another took over`;
    },
    (note) => note,
  );
  await passGates(scene, serving === 'blue' ? 'cutover' : 'revert');
}
