import { SIDES, type Side } from '../pg/side.ts';
import { openLook } from './embedded-pair.ts';
import type { Scene } from './scene.ts';
import { passGates, watchOver } from './stages.ts';

/** What a rehearsal may do to the program before each handover. */
export const FAULTS = ['none', 'kill-runner', 'cut-connections'] as const;
export type Fault = (typeof FAULTS)[number];

/** Every session of the program, by the name it gives from its first packet on; ours say `rehearsal`. */
const CUT = `
  SELECT count(pg_terminate_backend(pid))::integer AS cut
  FROM pg_stat_activity
  WHERE datname = current_database() AND application_name LIKE 'orchestrate/%'
    AND application_name NOT LIKE 'orchestrate/rehearsal%'`;

/** Does it, brings a runner back where none is left, and waits until every gate is passed again (I12). */
export async function disturb(scene: Scene, serving: Side): Promise<void> {
  const { book, stop, fault, pair, program } = scene;
  if (fault === 'none') return;
  await book.stage(
    fault,
    async () => {
      const { run } = scene;
      scene.restarting = true;
      if (fault === 'kill-runner') process.kill(run.pid, 'SIGKILL');
      else
        for (const side of SIDES) {
          const client = await openLook(pair.urls[side].superuser);
          try {
            await client.query(CUT);
          } finally {
            await client.end();
          }
        }
      // A runner that has lost its lease ends with 7, as it has to; one that could hold on to it goes on.
      const ended = await Promise.race([run.ended, stop.pass(fault === 'kill-runner' ? 30_000 : 5_000)]);
      scene.restarting = false;
      if (typeof ended !== 'number') return 'the runner went on';
      scene.run = program.run();
      pair.guard(scene.run.pid);
      watchOver(scene);
      return `the runner ended with ${ended}, another took over`;
    },
    (note) => note,
  );
  await passGates(scene, serving === 'blue' ? 'cutover' : 'revert');
}
