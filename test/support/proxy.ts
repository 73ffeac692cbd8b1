/** A TCP proxy between us and a server, whose traffic a test can hold and cut. */
import { createServer, connect as dial, type Socket } from 'node:net';

export interface Proxy {
  /** The URL with the proxy's host and port. */
  url(url: string): string;
  /** The server's answers stop arriving; what we send still does. */
  holdAnswers(): void;
  /** Ends every connection, on both sides. */
  cut(): void;
  /** Everything flows again, for connections made from now on. */
  flow(): void;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1 and forwards to the server of `url`. */
export async function proxyTo(url: string): Promise<Proxy> {
  const target = new URL(url);
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  let holding = false;
  const listener = createServer((client) => {
    const server = dial(Number(target.port), target.hostname);
    const pair = { client, server };
    pairs.add(pair);
    client.pipe(server);
    server.on('data', (data: Buffer) => {
      if (!holding) client.write(data);
    });
    for (const socket of [client, server]) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        pairs.delete(pair);
        client.destroy();
        server.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const address = listener.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  const cut = (): void => {
    for (const { client, server } of pairs) {
      client.destroy();
      server.destroy();
    }
  };
  return {
    url: (original) => {
      const through = new URL(original);
      through.hostname = '127.0.0.1';
      through.port = String(port);
      return through.href;
    },
    holdAnswers: () => {
      holding = true;
    },
    cut,
    flow: () => {
      holding = false;
    },
    close: async () => {
      cut();
      await new Promise<void>((resolve) => listener.close(() => resolve()));
    },
  };
}
