import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { failure } from '../errors/failure.ts';
import type { RegistryMetrics } from './registry.ts';

/** What a probe says; `detail` is one line for a person. */
export interface Health {
  readonly ok: boolean;
  readonly detail: string;
}

export interface MetricsServerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Pick<RegistryMetrics, 'text' | 'contentType'>;
  /** Liveness: the loop makes progress. */
  readonly healthy: () => Health;
  /** Readiness: both databases are connected; never lag. */
  readonly ready: () => Promise<Health>;
  /** How long a client may take to ask, and a connection stay silent; 10 s unless a test wants less. */
  readonly timeoutMs?: number;
}

export interface MetricsServer {
  readonly host: string;
  /** The port that was given by the system when 0 was asked for. */
  readonly port: number;
  stop(): Promise<void>;
}

/** More than any Prometheus and a few people need; the listener must not be a way to use up file descriptors. */
const MAX_CONNECTIONS = 32;
const TIMEOUT_MS = 10_000;

/**
 * Serves `/metrics`, `/healthz` and `/readyz`, GET (and HEAD) only, with no control verb of any kind.
 * @throws OrchestrateError METRICS_LISTEN when the address cannot be used.
 */
export async function serveMetrics(options: MetricsServerOptions): Promise<MetricsServer> {
  const { host, port } = options.listen;
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const render = shared(() => options.metrics.text());
  const server = createServer({
    requestTimeout: timeoutMs,
    headersTimeout: timeoutMs,
    maxHeaderSize: 8_192,
    // How often the two limits above are looked at; by default only every half minute.
    connectionsCheckingInterval: timeoutMs / 10,
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.keepAliveTimeout = timeoutMs;
  server.on('request', (request, response) => {
    answer(request, response, options, render).catch(() => {
      if (!response.headersSent) send(response, 500, 'text/plain', 'error\n');
      else response.destroy();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        failure('METRICS_LISTEN', {
          message: `metrics cannot be served on ${host}:${port}`,
          expected: 'an address that is free and may be bound',
          found: error.code ?? 'an error',
        }),
      ),
    );
    server.listen({ host, port, exclusive: true }, resolve);
  });
  server.on('error', () => {});
  return {
    host,
    port: (server.address() as AddressInfo).port,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  options: MetricsServerOptions,
  render: () => Promise<string>,
): Promise<void> {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    response.setHeader('Allow', 'GET, HEAD');
    return send(response, 405, 'text/plain', 'only GET\n');
  }
  const path = (request.url ?? '').split('?', 1)[0];
  switch (path) {
    case '/metrics':
      return send(response, 200, options.metrics.contentType, await render());
    case '/healthz':
      return probe(response, options.healthy());
    case '/readyz':
      return probe(response, await options.ready());
    default:
      return send(response, 404, 'text/plain', '/metrics /healthz /readyz\n');
  }
}

function probe(response: ServerResponse, health: Health): void {
  send(response, health.ok ? 200 : 503, 'text/plain', `${health.detail}\n`);
}

function send(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    'Content-Type': type.startsWith('text/plain;') ? type : `${type}; charset=utf-8`,
    'Content-Length': Buffer.byteLength(body),
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(response.req.method === 'HEAD' ? undefined : body);
}

/** Scrapes that come at the same time share one rendering. */
function shared<T>(work: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= work().finally(() => {
      running = undefined;
    });
    return running;
  };
}
