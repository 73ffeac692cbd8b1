import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../orchestrator/rehearsal/embedded/port.ts';
import { until } from './until.ts';

/** A real Prometheus that scrapes one runner every second, with rules of its own. */
export interface Prometheus {
  readonly url: string;
  /** How many finite values a query has had since a moment (epoch seconds), over all of its series. */
  samples(expr: string, since: number): Promise<number>;
  /** Names of the alerts that fired since a moment. */
  fired(since: number): Promise<string[]>;
  stop(): Promise<void>;
}

interface RangeAnswer {
  readonly status: string;
  readonly error?: string;
  readonly data?: {
    readonly result: readonly {
      readonly metric: Readonly<Record<string, string>>;
      readonly values: readonly (readonly [number, string])[];
    }[];
  };
}

/** @param rules the text of a rules file. @param target `host:port` of the runner. */
export async function startPrometheus(path: string, rules: string, target: string): Promise<Prometheus> {
  const directory = mkdtempSync(join(tmpdir(), 'prometheus-'));
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  writeFileSync(join(directory, 'rules.yaml'), rules);
  writeFileSync(
    join(directory, 'prometheus.yaml'),
    JSON.stringify({
      global: { scrape_interval: '1s', evaluation_interval: '1s', scrape_timeout: '1s' },
      rule_files: ['rules.yaml'],
      scrape_configs: [{ job_name: 'orchestrate', static_configs: [{ targets: [target] }] }],
    }),
  );
  const child: ChildProcess = spawn(
    path,
    [
      `--config.file=${join(directory, 'prometheus.yaml')}`,
      `--storage.tsdb.path=${join(directory, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=error',
    ],
    { stdio: 'ignore' },
  );
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const range = async (query: string, since: number): Promise<NonNullable<RangeAnswer['data']>['result']> => {
    const parameters = new URLSearchParams({
      query,
      start: String(since),
      end: String(Date.now() / 1_000),
      step: '1',
    });
    const answer = (await (
      await fetch(`${url}/api/v1/query_range?${parameters.toString()}`)
    ).json()) as RangeAnswer;
    if (answer.data === undefined) throw new Error(`${query}: ${answer.error ?? answer.status}`);
    return answer.data.result;
  };
  const stop = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await until('Prometheus', async () => {
      if (child.exitCode !== null) throw new Error(`prometheus ended with ${child.exitCode}`);
      return (await fetch(`${url}/-/ready`).catch(() => null))?.ok === true;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    samples: async (expr, since) =>
      (await range(expr, since)).flatMap(({ values }) => values.filter(([, v]) => Number.isFinite(Number(v))))
        .length,
    fired: async (since) => [
      ...new Set(
        (await range('ALERTS{alertstate="firing"}', since)).map(({ metric }) => metric['alertname'] ?? ''),
      ),
    ],
    stop,
  };
}
