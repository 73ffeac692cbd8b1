import type { HandoverFact, RehearsalReport } from '../../orchestrator/rehearsal/report.ts';
import { GATES, STEPS } from '../../orchestrator/state/documents.ts';

const latency = { count: 60, min: 0.8, p50: 2.1, p95: 412.5, max: 498.2 };

function handover(name: string, kind: 'cutover' | 'revert', failed: boolean): HandoverFact {
  const seconds = [0.31, 0.01, 0.06, 0.02, 0.11, 0.03, 0.09, 0.04, 0.03, 0.01, 0.62];
  const all = STEPS.map((step, i) => ({ step, seconds: seconds[i] ?? 0, ok: true }));
  return {
    name,
    kind,
    outcome: failed ? 'aborted' : 'done',
    exit: failed ? 5 : 0,
    serving: kind === 'cutover' && !failed ? 'green' : 'blue',
    freeze_seconds: 0.39,
    budget_seconds: 10,
    felt: {
      longest_gap_ms: 424.3,
      longest_wait_ms: 498.2,
      waiting: 8,
      waiting_ms: latency,
      latency_ms: latency,
    },
    offered_per_second: { before: 201, during: 198, after: failed ? null : 202 },
    steps: failed ? all.slice(0, 5).map((s, i) => ({ ...s, ok: i < 4 })) : all,
    gates: GATES.map((gate) => ({ name: gate, passed: true, detail: `within its limit, ${gate}` })),
  };
}

/** A report as a rehearsal makes it; with `failed`, one that stopped at its second handover. */
export function sampleReport(failed = false): RehearsalReport {
  const names = failed ? ['cutover 1', 'revert 1'] : ['cutover 1', 'revert 1', 'cutover 2'];
  const handovers = names.map((name, i) =>
    handover(name, i === 1 ? 'revert' : 'cutover', failed && i === names.length - 1),
  );
  const freezes = names.map((name, i) => ({ name, from_seconds: 14 + i * 9, to_seconds: 14.42 + i * 9 }));
  const frozen = (at: number): boolean =>
    freezes.some((f) => at < f.to_seconds && at + 0.25 > f.from_seconds);
  const points = Array.from({ length: 160 }, (_, i) => 2 + i * 0.25).map((at) => ({
    at_seconds: at,
    acknowledged: frozen(at) ? 0 : 45 + Math.round(8 * Math.sin(at * 3)),
    p50_ms: frozen(at) ? null : 2 + Math.sin(at),
    p95_ms: frozen(at) ? null : 9 + 3 * Math.sin(at * 2),
    max_ms: frozen(at) ? null : frozen(at - 0.5) ? 498 : 25 + 10 * Math.sin(at * 5),
  }));
  return {
    verdict: failed ? 'failed' : 'passed',
    exit: failed ? 3 : 0,
    failures: failed
      ? [
          {
            stage: 'revert 1',
            expected: 'the handover done, writes on blue',
            found: 'aborted: a key <differs> & more',
          },
        ]
      : [],
    started_at: '2026-01-02T03:04:05.678Z',
    seconds: 42.7,
    program: { version: '0.1.0', node: 'v22.1.0' },
    machine: { cpus: 2, memory_bytes: 25e9, platform: 'linux-x64' },
    servers: { blue: '15.18', green: '18.4' },
    configuration: {
      hash: '0123456789abcdef',
      migration: 'user-settings-org',
      users: 23_000,
      rate_per_second: 200,
      soak_seconds: 5,
      seed: '1',
      freeze_budget_seconds: 10,
      max_lag_bytes: 16_777_216,
      max_sweep_age_seconds: 3_600,
      accept_parked: 'all',
      copy_workers: 2,
      compat_view: false,
    },
    rows: { users: 23_000, generate_seconds: 1.2 },
    copy: {
      seconds: 5.3,
      until_proved_seconds: 6.8,
      rows_per_second: 4_340,
      phases: [
        { phase: 'created', seconds: 0.4 },
        { phase: 'copying', seconds: 3.1 },
        { phase: 'building', seconds: 1.8 },
      ],
      projection: [
        { rows: 1_000_000, seconds: 214 },
        { rows: 10_000_000, seconds: 2_130 },
      ],
      parked: 232,
    },
    workload: {
      clients: 8,
      offered: 8_200,
      acknowledged: 8_190,
      refused: 61,
      abandoned: 0,
      unknown: 2,
      shed: 0,
      sign_ups: 210,
      refused_by_code: { 25006: 61 },
      latency_ms: latency,
    },
    handovers,
    checks: names.slice(0, failed ? 1 : 3).map((after, i) => ({
      after,
      serving: i === 1 ? 'blue' : 'green',
      acknowledged: 2_000 * (i + 1),
      lost: 0,
      facts_looked_up: 700,
      compared: { blue_rows: 23_100, mapped: 22_868, parked: 232, differences: 0 },
      examples: [],
      quiet_seconds: 0.8,
    })),
    guide: failed
      ? null
      : {
          migration_seconds: 5.3,
          database_bytes: { blue: 31_000_000, green: 24_500_000 },
          query_seconds: { blue: 0.0011, green: 0.0016 },
          refused_writes: { blue: 40, green: 21 },
        },
    finalize: failed
      ? null
      : {
          outcome: 'done',
          exit: 0,
          run_exit: 0,
          left: ['the fence of blue'],
          residue: [],
          blue_refuses_writes: true,
        },
    alerts: [
      { alert: 'SyncDown', for_seconds: 120, held_seconds: 3, fired: false },
      { alert: 'StandbyWrites', for_seconds: 0, held_seconds: 31, fired: true },
      { alert: 'SlotLost', for_seconds: 0, held_seconds: null, fired: false },
    ],
    restored: failed
      ? { identical: false, left: ['green, new: relation public.forgotten r app_owner'], unread: [] }
      : { identical: true, left: [], unread: ['blue public.audit'] },
    iterations: [1, 2, 3].map((iteration) => ({
      iteration,
      verdict: failed && iteration === 3 ? 'failed' : 'passed',
      seconds: 41.2,
      copy_seconds: 5.3,
      longest_gap_ms: [310, 288.4, 402, 290.1],
      lost: 0,
      differences: 0,
      restored: !failed,
    })),
    serving_changes: { proved: failed ? 1 : 3, handovers: names.length },
    stages: [{ stage: 'servers', seconds: 2, note: 'PostgreSQL 15.18 and 18.4' }],
    lag: Array.from({ length: 40 }, (_, i) => ({
      at_seconds: 2 + i,
      bytes: 20_000 + Math.round(18_000 * Math.sin(i)),
      serving: 'blue',
    })),
    chart: { interval_seconds: 0.25, points, freezes },
    checklist: [
      { item: 'copied, built and proved equal by the first sweep', ok: true },
      { item: 'revert 1: done, 0 writes lost, 0 differences', ok: !failed },
    ],
    report_directory: '/tmp/report',
    ...(failed
      ? {
          error: {
            code: 'REHEARSAL_FAILED',
            message: 'the rehearsal ended, and not everything held',
            serving: null,
            expected: 'the handover done',
            found: 'aborted',
            fix: 'read report.md',
            runbook: 'README.md#rehearsal-failed',
          },
        }
      : {}),
  };
}
