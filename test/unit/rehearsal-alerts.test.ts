import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ALERTS, AlertWatch } from '../../orchestrator/rehearsal/alerts.ts';

const rules = (
  parse(readFileSync(new URL('../../grafana/rules/orchestrate.yaml', import.meta.url), 'utf8')) as {
    groups: { rules: { alert: string; for: string; expr: string }[] }[];
  }
).groups.flatMap((g) => g.rules);

const quiet = (at: number): string[] => [
  'orchestrate_leader 1',
  'orchestrate_phase{migration="m",phase="syncing"} 1',
  'orchestrate_replication_lag_seconds{direction="forward"} 0.1',
  'orchestrate_replication_lag_bytes{direction="forward"} 10',
  `orchestrate_changes_applied_total{direction="forward",table="user",op="update"} ${at}`,
  'orchestrate_apply_errors_total{direction="forward",class="23"} 4',
  'orchestrate_slot_retained_wal_bytes{side="blue",slot="s"} 1000',
  'orchestrate_slot_safe_wal_bytes{side="blue",slot="s"} 1e12',
  'orchestrate_slot_wal_status{side="blue",slot="s",status="lost"} 0',
  'orchestrate_verify_mismatched_rows{table="user",kind="missing"} 0',
  `orchestrate_verify_last_success_timestamp_seconds ${at - 60}`,
  'orchestrate_copy_rows_total{table="user"} 100',
  'orchestrate_freeze_active 0',
  `orchestrate_freeze_start_timestamp_seconds ${at - 1_000}`,
  'orchestrate_freeze_budget_seconds 10',
  'orchestrate_handover_attempts_total{kind="cutover",outcome="aborted"} 2',
  'orchestrate_standby_writes_refused_total{side="green"} 7',
  'orchestrate_serving_side{side="green"} 1',
  'orchestrate_stream_connected{direction="reverse"} 1',
  `orchestrate_decision_timestamp_seconds ${at - 1_000}`,
  'orchestrate_fence_state{side="green",state="open"} 1',
];

/** What is different while an alert's condition holds; null: no answer. */
const TROUBLE: Readonly<Record<string, (at: number) => Readonly<Record<string, number>> | null>> = {
  SyncDown: () => null,
  ReplicationLagHigh: () => ({ 'replication_lag_seconds{': 11 }),
  ReplicationStalled: () => ({ 'replication_lag_bytes{': 17e6, 'changes_applied_total{': 3 }),
  SlotWalRetentionHigh: () => ({ 'slot_retained_wal_bytes{': 11e9 }),
  SlotExhaustionPredicted: (at) => ({ 'slot_safe_wal_bytes{': 1e9 - at * 1e5 }),
  SlotLost: () => ({ 'slot_wal_status{': 1 }),
  ApplyErrors: (at) => ({ 'apply_errors_total{': at }),
  VerifyMismatch: () => ({ 'verify_mismatched_rows{': 1 }),
  VerifyStale: () => ({ verify_last_success_timestamp_seconds: -90_000 }),
  CopyStalled: () => ({ 'phase{': 1, 'copy_rows_total{': 5 }),
  FreezeOverBudget: () => ({ 'freeze_active ': 1 }),
  HandoverFailed: (at) => ({ 'handover_attempts_total{': at }),
  StandbyWrites: (at) => ({ 'standby_writes_refused_total{': at }),
  RevertNotSafe: () => ({ 'stream_connected{': 0 }),
  LeaderCount: () => ({ 'leader ': 0 }),
  DecidedNotOpen: () => ({ 'fence_state{': 0 }),
};

function scrape(at: number, alert?: string): string | undefined {
  const other = alert === undefined ? {} : TROUBLE[alert]?.(at);
  if (other === null) return undefined;
  return quiet(at)
    .map((line) => {
      const found = Object.entries(other ?? {}).find(([name]) => line.startsWith(`orchestrate_${name}`));
      const changed = found === undefined ? line : line.replace(/ \S+$/, ` ${found[1]}`);
      return alert === 'CopyStalled' ? changed.replace('phase="syncing"', 'phase="copying"') : changed;
    })
    .join('\n');
}

describe('alerts that would have fired in a rehearsal', () => {
  it('are those of the rules file, with their times', () => {
    expect(Object.entries(ALERTS).map(([alert, { forSeconds }]) => [alert, `${forSeconds / 60}m`])).toEqual(
      rules.map((rule) => [rule.alert, rule.for]),
    );
  });

  it('limits are those of the rules file', () => {
    const source = readFileSync(new URL('../../orchestrator/rehearsal/alerts.ts', import.meta.url), 'utf8');
    const limits = rules.flatMap((rule) =>
      [...rule.expr.matchAll(/[><] (\d{2,})\b/g)].map((m) => m[1] ?? ''),
    );
    expect(limits.length).toBeGreaterThan(3);
    for (const limit of limits) expect(source.replaceAll('_', '')).toMatch(new RegExp(`> ${limit}\\b`));
  });

  it('none is there while all is well', () => {
    const watch = new AlertWatch();
    for (let at = 1_000; at < 1_900; at += 10) watch.see(scrape(at), at);
    expect(watch.facts().filter((f) => f.held_seconds !== null || f.fired)).toEqual([]);
    expect(new AlertWatch().facts()).toEqual([]);
  });

  it('a later freeze is no decision that was not opened', () => {
    const watch = new AlertWatch();
    const frozen = (scrape(1_000, 'DecidedNotOpen') ?? '').concat(
      '\norchestrate_fence_state{side="green",state="leased"} 1',
    );
    watch.see(frozen, 1_000);
    expect(watch.facts().find((f) => f.alert === 'DecidedNotOpen')?.fired).toBe(false);
  });

  it('a counter begins with the scrape that shows it: the first of a runner has none', () => {
    const watch = new AlertWatch();
    watch.see('orchestrate_leader 0', 990);
    watch.see(scrape(1_000), 1_000);
    watch.see(scrape(1_010, 'StandbyWrites'), 1_010);
    expect(watch.facts().find((f) => f.alert === 'StandbyWrites')?.fired).toBe(true);
  });

  it.each(Object.entries(ALERTS))('%s fires once it has held for its time', (alert, { forSeconds }) => {
    const watch = new AlertWatch();
    const fact = () => watch.facts().find((f) => f.alert === alert);
    watch.see(scrape(990), 990);
    for (let at = 1_000; at < 1_000 + forSeconds; at += 10) watch.see(scrape(at, alert), at);
    expect(fact()?.fired).toBe(false);
    for (let at = 1_000 + forSeconds; at <= 1_400 + forSeconds; at += 10) watch.see(scrape(at, alert), at);
    expect(fact()?.fired).toBe(true);
    expect(fact()?.held_seconds).toBeGreaterThanOrEqual(forSeconds);
  });
});
