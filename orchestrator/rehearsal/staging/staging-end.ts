import type { EndDocument, StatusDocument } from '../../state/documents.ts';
import { checkPromises } from '../comparison/promises.ts';
import type { Scene } from '../scene.ts';
import { saidBy } from '../stages.ts';

const END_MS = 30_000;

/** Ends a migration with blue serving and nothing closed; every write that was promised has to be on blue. */
export async function finalizeOnBlue(scene: Scene): Promise<void> {
  const { book, stop, program, workload, pair, ledger } = scene;
  await scene.sampler.stopSampling();
  await book.stage(
    'finalize',
    async () => {
      book.guide = (await stop.guard(program.command<StatusDocument>('status'))).document?.guide ?? null;
      const ended = await stop.guard(program.command<EndDocument>('finalize', '--yes', '--release-green'));
      const done = ended.exit === 0 && ended.document?.outcome === 'done';
      if (!done) book.fail('finalize', 'outcome done', saidBy(ended));
      const runExit = done ? await Promise.race([scene.run.ended, stop.pass(END_MS).then(() => null)]) : null;
      if (done && runExit !== 0)
        book.fail('finalize', 'orchestrate run ends by itself with exit 0', `exit ${runExit ?? 'none'}`);
      await stop.guard(workload.stop());
      const promises = await stop.guard(
        checkPromises({ database: pair.urls.blue.superuser, side: 'blue', ledger: ledger.path }),
      );
      if (!promises.clean)
        book.fail('finalize', '0 acknowledged writes lost', `${promises.lost.length} lost on blue`);
      book.checks.push({
        after: 'finalize',
        serving: 'blue',
        acknowledged: promises.acknowledged,
        lost: promises.lost.length,
        facts_looked_up: promises.facts,
        compared: null,
        examples: promises.lost.slice(0, 20),
        quiet_seconds: 0,
      });
      book.finalize = {
        outcome: ended.document?.outcome ?? 'failed',
        exit: ended.exit,
        run_exit: runExit,
        left: ended.document?.left ?? [],
        residue: [],
        blue_refuses_writes: false,
      };
      return promises.lost.length;
    },
    (lost) => `blue serves alone, ${lost} acknowledged writes lost`,
  );
}
