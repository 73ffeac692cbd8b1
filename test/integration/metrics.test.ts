import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../../orchestrator/metrics/registry.ts';
import { type Health, type MetricsServer, serveMetrics } from '../../orchestrator/metrics/server.ts';

const ok: Health = { ok: true, detail: 'fine' };
const open: (MetricsServer | Server)[] = [];

afterEach(async () => {
  for (const server of open.splice(0))
    if ('stop' in server) await server.stop();
    else await new Promise((resolve) => server.close(resolve));
});

async function serve(
  options: Partial<Parameters<typeof serveMetrics>[0]> = {},
): Promise<{ url: string; server: MetricsServer }> {
  const server = await serveMetrics({
    listen: { host: '127.0.0.1', port: 0 },
    metrics: createMetrics({ migration: 'm', version: '1' }),
    healthy: () => ok,
    ready: async () => ok,
    ...options,
  });
  open.push(server);
  return { url: `http://127.0.0.1:${server.port}`, server };
}

describe('the listener', () => {
  it('serves metrics, health and readiness', async () => {
    const { url } = await serve({ ready: async () => ({ ok: false, detail: 'no answer from green' }) });
    const metrics = await fetch(`${url}/metrics`);
    expect([metrics.status, metrics.headers.get('content-type')]).toEqual([
      200,
      'text/plain; version=0.0.4; charset=utf-8',
    ]);
    expect(await metrics.text()).toContain('orchestrate_leader{migration="m"} 0');
    const health = await fetch(`${url}/healthz`);
    expect([health.status, await health.text()]).toEqual([200, 'fine\n']);
    const ready = await fetch(`${url}/readyz`);
    expect([ready.status, await ready.text()]).toEqual([503, 'no answer from green\n']);
    expect((await fetch(`${url}/`)).status).toBe(404);
    expect(await (await fetch(`${url}/metrics`, { method: 'HEAD' })).text()).toBe('');
  });

  it.each(['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS'])(
    'refuses %s: there is nothing to control',
    async (method) => {
      const { url } = await serve();
      const response = await fetch(`${url}/metrics`, { method });
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
    },
  );

  it('says with a code that the address is in use, and which way out there is', async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    open.push(taken);
    const { port } = taken.address() as AddressInfo;
    await expect(serve({ listen: { host: '127.0.0.1', port } })).rejects.toMatchObject({
      code: 'METRICS_LISTEN',
      message: `metrics cannot be served on 127.0.0.1:${port}`,
      detail: { found: 'EADDRINUSE' },
    });
  });

  it('stops although a client holds its connection open', async () => {
    const { server } = await serve();
    const idle = connect(server.port, '127.0.0.1');
    await new Promise((resolve) => idle.once('connect', resolve));
    const closed = new Promise((resolve) => idle.once('close', resolve));
    idle.on('error', () => {});
    await server.stop();
    open.splice(0);
    await closed;
  });

  it('renders once for scrapes that come together', async () => {
    let rendered = 0;
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const metrics = {
      contentType: 'text/plain',
      text: async () => {
        rendered += 1;
        await held;
        return 'x 1\n';
      },
    };
    const { url } = await serve({ metrics });
    const scrapes = [1, 2, 3].map(() => fetch(`${url}/metrics`).then((r) => r.text()));
    // The health answer comes from the same thread: all three scrapes have been taken up when it is there.
    for (let i = 0; i < 3; i++) await fetch(`${url}/healthz`);
    release();
    expect(await Promise.all(scrapes)).toEqual(['x 1\n', 'x 1\n', 'x 1\n']);
    expect(rendered).toBeLessThan(3);
  });

  it('a collector that throws costs its own metric, not the scrape', async () => {
    const metrics = createMetrics({ migration: 'm', version: '1' });
    metrics.restore([]);
    metrics.set('replication_lag_bytes', { direction: 'forward' }, 7);
    const { url } = await serve({ metrics });
    const scrape = async () => (await fetch(`${url}/metrics`)).text();
    expect(await scrape()).toContain('process_cpu_seconds_total{migration="m"}');
    const real = process.cpuUsage.bind(process);
    process.cpuUsage = () => {
      throw new Error('no figures');
    };
    try {
      const text = await scrape();
      expect(text).toContain('replication_lag_bytes{migration="m",direction="forward"} 7');
      // The last figure that was had, and a count of what could not be read.
      expect(text).toContain('process_cpu_seconds_total{migration="m"}');
      expect(await scrape()).toMatch(/orchestrate_scrape_errors_total\{migration="m"\} [1-9]/);
    } finally {
      process.cpuUsage = real;
    }
  });
});
