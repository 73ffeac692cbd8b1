import { createServer, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { networkInterfaces } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { loadSettings } from '../../orchestrator/config/load.ts';
import { createMetrics } from '../../orchestrator/metrics/registry.ts';
import { type Health, type MetricsServer, serveMetrics } from '../../orchestrator/metrics/server.ts';
import { until } from '../support/until.ts';

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

/** Sends text and reads until the other end is done. */
function tell(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect(port, '127.0.0.1', () => socket.write(text));
    socket.setEncoding('utf8').on('data', (part: string) => {
      answer += part;
      // An answer that leaves the connection open has been given all the same.
      if (answer.includes('only GET')) socket.destroy();
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(answer));
  });
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

  it('has no path and no word that controls anything', async () => {
    const { url } = await serve();
    for (const path of [
      '/quit',
      '/-/reload',
      '/debug',
      '/cutover',
      '/metrics/../cutover',
      '/metrics?command=abort',
    ])
      expect([path, (await fetch(`${url}${path}`)).status]).toEqual([path, path.includes('?') ? 200 : 404]);
    const { port } = new URL(url);
    for (const verb of [
      'CUTOVER / HTTP/1.1',
      'GET /metrics HTTP/1.1\r\nTransfer-Encoding: x',
      '\u0000\u0001',
    ])
      expect([verb, await tell(Number(port), `${verb}\r\nHost: x\r\n\r\n`)]).toEqual([
        verb,
        expect.stringMatching(/^HTTP\/1.1 4/),
      ]);
  });

  it('reads no more than 8 KiB of headers', async () => {
    const { server } = await serve();
    const long = `GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: ${'x'.repeat(9_000)}\r\n\r\n`;
    expect(await tell(server.port, long)).toMatch(/^HTTP\/1.1 431 /);
  });

  it('lets go of a client that does not finish its question, and of one that asks nothing', async () => {
    const { server } = await serve({ timeoutMs: 200 });
    const answers = await Promise.all(
      [
        'GET /metrics HTTP/1.1\r\nX-Slow: ',
        'POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
        '',
      ].map((text) => tell(server.port, text)),
    );
    expect(answers.map((answer) => answer.split(' ')[1])).toEqual(['408', '405', '408']);
  });

  it('turns away more clients than it has room for, and has room again afterwards', async () => {
    const { url, server } = await serve({ timeoutMs: 60_000 });
    const idle = Array.from({ length: 100 }, () => connect(server.port, '127.0.0.1'));
    const away = idle.map((socket) => new Promise<void>((resolve) => void socket.once('close', resolve)));
    for (const socket of idle) socket.on('error', () => {});
    await until('most of them to be turned away', () => idle.filter((socket) => socket.closed).length === 68);
    for (const socket of idle) socket.destroy();
    await Promise.all(away);
    await until('room again', async () => (await fetch(`${url}/healthz`)).status === 200);
  });

  it('is on loopback unless it is told otherwise', async () => {
    const settings = loadSettings({ flags: {}, environment: {} });
    expect(settings.metricsListen).toEqual({ host: '127.0.0.1', port: 9187 });
    const { server } = await serve();
    const outside = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .find((a) => a.family === 'IPv4' && !a.internal);
    if (outside === undefined) return;
    await expect(fetch(`http://${outside.address}:${server.port}/healthz`)).rejects.toThrow('fetch failed');
  });

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
