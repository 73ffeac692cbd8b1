/** An API server as far as Services go: it keeps one, and checks every request as the real one would. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ApiRequest {
  readonly method: string;
  readonly url: string;
  readonly contentType: string | undefined;
  readonly authorization: string | undefined;
  readonly body: unknown;
}

export interface ApiServer {
  /** A kubeconfig that leads to it. */
  readonly config: string;
  readonly requests: ApiRequest[];
  selector: Record<string, string>;
  version: number;
  /** Called before a request is answered; may change the Service, or say how to answer. */
  before: (request: ApiRequest) => number | 'hang' | undefined;
  close(): Promise<void>;
}

const TOKEN = 'token-of-the-stub';

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const chunk of request) text += String(chunk);
  return text === '' ? undefined : JSON.parse(text);
}

/** Starts one that knows the Service `namespace/name`. */
export async function startApiServer(
  namespace: string,
  name: string,
  selector: Record<string, string>,
): Promise<ApiServer> {
  const path = `/api/v1/namespaces/${namespace}/services/${name}`;
  const directory = mkdtempSync(join(tmpdir(), 'orchestrate-kubernetes-'));
  const answer = (response: ServerResponse, status: number, body: unknown): void => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  const refuse = (response: ServerResponse, code: number): void =>
    answer(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, reason: 'stub' });
  const service = (chosen: Record<string, string>) => ({
    kind: 'Service',
    apiVersion: 'v1',
    metadata: { name, namespace, resourceVersion: String(api.version) },
    spec: { selector: chosen, ports: [{ port: 5432 }] },
  });
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const seen: ApiRequest = {
      method: request.method ?? '',
      url: request.url ?? '',
      contentType: request.headers['content-type'],
      authorization: request.headers.authorization,
      body: await bodyOf(request),
    };
    api.requests.push(seen);
    const told = api.before(seen);
    if (told === 'hang') return;
    if (told !== undefined) return refuse(response, told);
    if (seen.authorization !== `Bearer ${TOKEN}`) return refuse(response, 401);
    const { pathname, searchParams } = new URL(seen.url, 'http://stub');
    if (pathname !== path) return refuse(response, 404);
    if (seen.method === 'GET') return answer(response, 200, service(api.selector));
    if (seen.method !== 'PATCH') return refuse(response, 405);
    if (seen.contentType !== 'application/merge-patch+json') return refuse(response, 415);
    const patch = seen.body as {
      metadata?: { resourceVersion?: string };
      spec: { selector: Record<string, string | null> };
    };
    if (
      patch.metadata?.resourceVersion !== undefined &&
      patch.metadata.resourceVersion !== String(api.version)
    )
      return refuse(response, 409);
    const merged = Object.fromEntries(
      Object.entries({ ...api.selector, ...patch.spec.selector }).filter(([, value]) => value !== null),
    ) as Record<string, string>;
    if (searchParams.get('dryRun') !== 'All') {
      api.selector = merged;
      api.version += 1;
    }
    answer(response, 200, service(merged));
  };
  const server = createServer((request, response) => void handle(request, response));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const config = join(directory, 'config');
  writeFileSync(
    config,
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'stub',
      clusters: [
        { name: 'stub', cluster: { server: `http://127.0.0.1:${port}`, 'insecure-skip-tls-verify': true } },
      ],
      users: [{ name: 'stub', user: { token: TOKEN } }],
      contexts: [{ name: 'stub', context: { cluster: 'stub', user: 'stub' } }],
    }),
  );
  const api: ApiServer = {
    config,
    requests: [],
    selector,
    version: 1,
    before: () => undefined,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      rmSync(directory, { recursive: true, force: true });
    },
  };
  return api;
}
