import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const preflight: Command = {
  name: 'preflight',
  describe: SUMMARIES.preflight,
  flags: {
    role: {
      kind: 'text',
      describe: 'The login that will run the migration, where this one only looks: its rights are checked',
    },
  },
  options: ['source-schema', 'org-schema', 'copy-workers', 'backup-confirmed'],
  examples: [
    ['$0 preflight --json', 'the findings as a document'],
    ['$0 preflight --role orchestrate_sync', 'with a login that may only look'],
  ],
  acts: false,
  run: checkBoth,
};

async function checkBoth({ settings, flags, log, terminal, signal }: Call): Promise<Result> {
  const [
    { preflight: check },
    { contextOf },
    { endpointsOf },
    { noMetrics },
    { renderPreflight },
    { failure },
  ] = await Promise.all([
    import('../phases/preflight.ts'),
    import('../runner/control.ts'),
    import('../pg/endpoints.ts'),
    import('../metrics/metrics.ts'),
    import('./render/preflight.ts'),
    import('../errors/failure.ts'),
  ]);
  const { migration, schemas } = settings;
  const ctx = contextOf(
    { migration, schemas, endpoints: endpointsOf(settings), log, metrics: noMetrics, signal },
    () => ({ migration, epoch: 0n, generation: 0n }),
  );
  const { ok, findings } = await check(ctx, {
    copyWorkers: settings.copyWorkers,
    backupConfirmed: settings.backupConfirmed,
    ...(typeof flags['role'] === 'string' ? { login: flags['role'] } : {}),
  });
  const stops = findings.filter((f) => f.severity === 'stop');
  const first = stops[0];
  const error = failure('PREFLIGHT_FAILED', {
    expected: first?.expected ?? 'no findings',
    found: stops.map((f) => `${f.check}${f.side === null ? '' : ` on ${f.side}`}: ${f.found}`).join('; '),
    fix: first?.fix ?? 'orchestrate preflight',
  });
  const document = { ok, findings, ...(ok ? {} : { error: error.toDocument() }) };
  return { exit: ok ? 0 : 3, document, text: () => renderPreflight(document, terminal.out) };
}
