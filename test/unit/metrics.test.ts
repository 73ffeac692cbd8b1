import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { METRICS, type MetricEntry, PREFIX } from '../../orchestrator/metrics/names.ts';
import { createMetrics } from '../../orchestrator/metrics/registry.ts';
import { setState } from '../../orchestrator/metrics/states.ts';
import { requireTool } from '../support/tool.ts';

const fresh = (process = false) =>
  createMetrics({ migration: 'user-settings-org', version: '1.2.3', revision: 'abc', process });
const samples = (text: string) => text.split('\n').filter((l) => l !== '' && !l.startsWith('#'));

describe('what is exported', () => {
  it('says only who it is while it waits for the lease', async () => {
    const m = fresh();
    m.set('migration_info', { blue: 'b:1/x', green: 'g:1/y', traffic: 'none' }, 1);
    m.set('replication_lag_bytes', { direction: 'forward' }, 5);
    expect(samples(await m.text())).toEqual([
      `orchestrate_build_info{version="1.2.3",revision="abc",node_version="${process.version}"} 1`,
      'orchestrate_migration_info{migration="user-settings-org",blue="b:1/x",green="g:1/y",traffic="none"} 1',
      'orchestrate_leader{migration="user-settings-org"} 0',
    ]);
  });

  it('begins every known series of counters and histograms at 0 with the lease', async () => {
    const m = fresh();
    m.restore([]);
    const lines = samples(await m.text());
    for (const [name, entry] of Object.entries<MetricEntry>(METRICS)) {
      const suffix = entry.type === 'histogram' ? '_count' : '';
      const found = lines.filter((l) => l.startsWith(`${PREFIX}${name}${suffix}{`));
      expect([name, found.length]).toEqual([
        name,
        entry.initial?.length ?? (entry.always ? found.length : 0),
      ]);
      expect(entry.initial ? found.filter((line) => !line.endsWith(' 0')) : []).toEqual([]);
    }
    expect(lines).toContain(
      'orchestrate_changes_applied_total{migration="user-settings-org",direction="reverse",table="org_user",op="truncate"} 0',
    );
  });

  it('takes a series away when its value is no longer known', async () => {
    const m = fresh();
    m.restore([]);
    m.set('replication_lag_bytes', { direction: 'forward' }, 17);
    expect(await m.text()).toContain(
      'replication_lag_bytes{migration="user-settings-org",direction="forward"} 17',
    );
    m.set('replication_lag_bytes', { direction: 'forward' }, undefined);
    expect(await m.text()).not.toContain('replication_lag_bytes');
  });

  it('shows a state set as one 1 among zeros, and not at all when the state is unknown', async () => {
    const m = fresh();
    m.restore([]);
    setState(m, 'fence_state', { side: 'blue' }, 'leased');
    const found = () => m.text().then((t) => samples(t).filter((l) => l.includes('fence_state')));
    expect((await found()).map((l) => l.replace(/.*state="(\w+)"} /, '$1 '))).toEqual([
      'open 0',
      'leased 1',
      'closed 0',
    ]);
    setState(m, 'fence_state', { side: 'blue' }, undefined);
    expect(await found()).toEqual([]);
  });

  it('continues the numbers of the runner before', async () => {
    const first = fresh();
    first.restore([]);
    first.add('copy_rows_total', { table: 'org' }, 40);
    first.add('copy_rows_total', { table: 'org' }, 2);
    first.add('apply_errors_total', { direction: 'forward', class: 'XX' }, 1);
    const second = fresh();
    second.restore([...first.snapshot(), { name: 'gone_total', labels: {}, value: 3 }]);
    second.add('copy_rows_total', { table: 'org' }, 1);
    const text = await second.text();
    expect(text).toContain('copy_rows_total{migration="user-settings-org",table="org"} 43\n');
    expect(text).toContain('class="XX"} 1');
    expect(text).not.toContain('gone');
    second.restore(second.snapshot());
    expect(await second.text()).toContain('copy_rows_total{migration="user-settings-org",table="org"} 43\n');
  });

  it('refuses names, types and labels that the catalogue does not have', () => {
    const m = fresh();
    m.restore([]);
    expect(() => m.set('no_such', {}, 1)).toThrow('metric no_such is not in the catalogue');
    expect(() => m.add('leader', {}, 1)).toThrow('metric leader is a gauge');
    expect(() => m.set('replication_lag_bytes', { side: 'blue' }, 1)).toThrow('has the labels direction');
    const lenient = createMetrics({ migration: 'm', version: '1', strict: false, process: false });
    expect(() => lenient.set('no_such', {}, 1)).not.toThrow();
  });

  it('passes promtool check metrics with everything set', async (context) => {
    const promtool = requireTool('promtool', 'apt-get install prometheus');
    if (!promtool.found) return context.skip(promtool.reason);
    const m = fresh(true);
    m.restore([]);
    for (const [name, entry] of Object.entries<MetricEntry>(METRICS)) {
      const labels = Object.fromEntries(entry.labels.map((l) => [l, 'some']));
      if (entry.states) setState(m, name as 'phase', labels, entry.states.values[0]);
      else if (entry.type === 'gauge') m.set(name, labels, 1);
      if (entry.type === 'histogram') m.observe(name, labels, 0.2);
    }
    const text = await m.text();
    for (const name of Object.keys(METRICS)) expect(text).toContain(`# HELP ${PREFIX}${name} `);
    expect(text).toContain('process_resident_memory_bytes{migration="user-settings-org"}');
    const checked = (input: string) => {
      const { status, stdout, stderr } = spawnSync(promtool.path, ['check', 'metrics'], {
        input,
        encoding: 'utf8',
      });
      return { status, said: stdout + stderr };
    };
    expect(checked(text)).toEqual({ status: 0, said: '' });

    // What it is there to find, planted among all of them.
    const without = `# HELP ${PREFIX}leader `;
    expect(checked(text.replace(new RegExp(`^${without}.*\\n`, 'm'), '')).said).toContain('no help text');
    expect(checked(text.replaceAll(`${PREFIX}copy_rows_total`, `${PREFIX}copy_rows`)).said).toContain(
      '_total',
    );
    expect(checked(text.replaceAll('_lag_seconds', '_lag_ms')).said).toContain('abbreviated units');
  });
});
