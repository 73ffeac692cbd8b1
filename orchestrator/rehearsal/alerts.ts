import type { AlertFact } from './report.ts';

/** One scrape: the series of each metric, without the prefix. */
export type Scrape = ReadonlyMap<string, readonly Series[]>;

interface Series {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What is known at one moment: the newest scrape (absent where there was no answer), and those before it. */
interface Sight {
  /** Seconds since 1970. */
  readonly now: number;
  readonly scrape: Scrape | undefined;
  /** The oldest scrape with this metric that is at most so many seconds old, and when it was. */
  back(seconds: number, name: string): { readonly at: number; readonly scrape: Scrape } | undefined;
}

interface Rule {
  /** How long it has to hold before the alert fires. */
  readonly forSeconds: number;
  readonly holds: (sight: Sight) => boolean;
}

const MINUTE = 60;

const all = (scrape: Scrape | undefined, name: string, labels: Readonly<Record<string, string>> = {}) =>
  (scrape?.get(name) ?? []).filter((s) =>
    Object.entries(labels).every(([label, value]) => s.labels[label] === value),
  );
const sum = (series: readonly Series[]): number => series.reduce((total, s) => total + s.value, 0);
const one = (scrape: Scrape | undefined, name: string, labels?: Readonly<Record<string, string>>) =>
  all(scrape, name, labels)[0]?.value;

/** How much counters grew in a window; undefined with fewer than two scrapes of them. */
function growth(sight: Sight, name: string, seconds: number, labels?: Readonly<Record<string, string>>) {
  const before = sight.back(seconds, name);
  if (before === undefined || before.scrape === sight.scrape) return undefined;
  const [then, now] = [all(before.scrape, name, labels), all(sight.scrape, name, labels)];
  return then.length === 0 || now.length === 0 ? undefined : sum(now) - sum(then);
}

/** grafana/rules/orchestrate.yaml, judged without a Prometheus: a test holds names and times against that file. */
export const ALERTS: Readonly<Record<string, Rule>> = {
  SyncDown: { forSeconds: 2 * MINUTE, holds: ({ scrape }) => scrape === undefined },
  ReplicationLagHigh: {
    forSeconds: 5 * MINUTE,
    holds: ({ scrape }) => all(scrape, 'replication_lag_seconds').some((s) => s.value > 10),
  },
  ReplicationStalled: {
    forSeconds: 5 * MINUTE,
    holds: (sight) =>
      all(sight.scrape, 'replication_lag_bytes').some(
        ({ labels: { direction = '' }, value }) =>
          value > 16_777_216 && growth(sight, 'changes_applied_total', 5 * MINUTE, { direction }) === 0,
      ),
  },
  SlotWalRetentionHigh: {
    forSeconds: 5 * MINUTE,
    holds: ({ scrape }) => all(scrape, 'slot_retained_wal_bytes').some((s) => s.value > 10_737_418_240),
  },
  SlotExhaustionPredicted: {
    forSeconds: 5 * MINUTE,
    holds: (sight) => {
      const before = sight.back(30 * MINUTE, 'slot_safe_wal_bytes');
      if (before === undefined || sight.now - before.at < 1) return false;
      return all(sight.scrape, 'slot_safe_wal_bytes').some(({ labels, value }) => {
        const then = one(before.scrape, 'slot_safe_wal_bytes', labels);
        return then !== undefined && value + ((value - then) / (sight.now - before.at)) * 14_400 < 0;
      });
    },
  },
  SlotLost: {
    forSeconds: 0,
    holds: ({ scrape }) => all(scrape, 'slot_wal_status', { status: 'lost' }).some((s) => s.value === 1),
  },
  ApplyErrors: {
    forSeconds: 0,
    holds: (sight) => (growth(sight, 'apply_errors_total', 10 * MINUTE) ?? 0) > 0,
  },
  VerifyMismatch: { forSeconds: 0, holds: ({ scrape }) => sum(all(scrape, 'verify_mismatched_rows')) > 0 },
  VerifyStale: {
    forSeconds: 0,
    holds: ({ now, scrape }) => now - (one(scrape, 'verify_last_success_timestamp_seconds') ?? now) > 86_400,
  },
  CopyStalled: {
    forSeconds: 10 * MINUTE,
    holds: (sight) =>
      one(sight.scrape, 'phase', { phase: 'copying' }) === 1 &&
      growth(sight, 'copy_rows_total', 5 * MINUTE) === 0,
  },
  FreezeOverBudget: {
    forSeconds: 0,
    holds: ({ now, scrape }) =>
      one(scrape, 'freeze_active') === 1 &&
      now - (one(scrape, 'freeze_start_timestamp_seconds') ?? now) >
        (one(scrape, 'freeze_budget_seconds') ?? Number.POSITIVE_INFINITY),
  },
  HandoverFailed: {
    forSeconds: 0,
    holds: (sight) =>
      ['aborted', 'unfinished'].some(
        (outcome) => (growth(sight, 'handover_attempts_total', 15 * MINUTE, { outcome }) ?? 0) > 0,
      ),
  },
  StandbyWrites: {
    forSeconds: 0,
    holds: (sight) => (growth(sight, 'standby_writes_refused_total', 5 * MINUTE) ?? 0) > 0,
  },
  RevertNotSafe: {
    forSeconds: 5 * MINUTE,
    holds: ({ scrape }) =>
      one(scrape, 'serving_side', { side: 'green' }) === 1 &&
      one(scrape, 'stream_connected', { direction: 'reverse' }) === 0,
  },
  LeaderCount: {
    forSeconds: 2 * MINUTE,
    holds: ({ scrape }) => all(scrape, 'leader').length > 0 && sum(all(scrape, 'leader')) !== 1,
  },
  DecidedNotOpen: {
    forSeconds: 0,
    holds: ({ now, scrape }) =>
      now - (one(scrape, 'decision_timestamp_seconds') ?? now) > 10 &&
      // Leased: the freeze of a later handover, which the server itself ends.
      !['open', 'leased'].some((state) => all(scrape, 'fence_state', { state }).some((s) => s.value === 1)),
  },
};

const LONGEST_S = 30 * MINUTE;

/** Judges every scrape as it comes. */
export class AlertWatch {
  readonly #seen: { readonly at: number; readonly scrape: Scrape }[] = [];
  readonly #since = new Map<string, number>();
  readonly #held = new Map<string, number>();
  #any = false;

  /** @param text what `/metrics` said; undefined where it gave no answer. @param now seconds since 1970. */
  see(text: string | undefined, now: number): void {
    this.#any = true;
    const scrape = text === undefined ? undefined : parsed(text);
    if (scrape !== undefined) this.#seen.push({ at: now, scrape });
    while ((this.#seen[0]?.at ?? now) < now - LONGEST_S) this.#seen.shift();
    // A runner that waits for its lease shows no counters yet: what it says then is no beginning of anything.
    const back = (seconds: number, name: string) =>
      this.#seen.find(({ at, scrape: seen }) => at >= now - seconds && seen.has(name));
    for (const [alert, rule] of Object.entries(ALERTS)) {
      if (!rule.holds({ now, scrape, back })) {
        this.#since.delete(alert);
        continue;
      }
      const since = this.#since.get(alert) ?? now;
      this.#since.set(alert, since);
      this.#held.set(alert, Math.max(this.#held.get(alert) ?? 0, now - since));
    }
  }

  /** @returns every alert with the longest time its condition held; none where nothing was seen. */
  facts(): AlertFact[] {
    if (!this.#any) return [];
    return Object.entries(ALERTS).map(([alert, { forSeconds }]) => {
      const held = this.#held.get(alert);
      return {
        alert,
        for_seconds: forSeconds,
        held_seconds: held === undefined ? null : Math.round(held * 10) / 10,
        fired: held !== undefined && held >= forSeconds,
      };
    });
  }
}

/** The text format of Prometheus, as far as our own registry writes it; histograms and comments are passed over. */
function parsed(text: string): Scrape {
  const found = new Map<string, Series[]>();
  for (const [, name = '', labels = '', value = ''] of text.matchAll(
    /^orchestrate_(\w+)(?:\{([^}]*)\})? (\S+)$/gm,
  )) {
    const series = found.get(name) ?? [];
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(
      ([, label = '', of = '']) => [label, of] as const,
    );
    series.push({ labels: Object.fromEntries(pairs), value: Number(value) });
    found.set(name, series);
  }
  return found;
}

/** Scrapes a runner every second until `stop`. */
export function watchAlerts(port: number): { readonly watch: AlertWatch; stop(): Promise<void> } {
  const watch = new AlertWatch();
  let busy: Promise<void> = Promise.resolve();
  const look = async (): Promise<void> => {
    const text = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(2_000) })
      .then(async (answer) => (answer.ok ? await answer.text() : undefined))
      .catch(() => undefined);
    watch.see(text, Date.now() / 1_000);
  };
  const timer = setInterval(() => {
    busy = busy.then(look);
  }, 1_000);
  return {
    watch,
    stop: async () => {
      clearInterval(timer);
      await busy;
    },
  };
}
