/** A TCP proxy between us and a server, whose traffic a test can hold and cut. */
import { createServer, connect as dial, type Socket } from 'node:net';

export interface TcpProxy {
  /** The URL with the proxy's host and port. */
  url(url: string): string;
  /** From the next message on that holds `text`, the server's answers stop arriving; what we send still does. */
  holdAnswersTo(text: string): void;
  /** Ends every connection, on both sides. */
  cut(): void;
  /** Everything flows again, for connections made from now on. */
  flow(): void;
  close(): Promise<void>;
}

/** Listens on a free port of 127.0.0.1 and forwards to the server of `url`. */
export async function proxyTo(url: string): Promise<TcpProxy> {
  const target = new URL(url);
  const pairs = new Set<{ readonly client: Socket; readonly server: Socket }>();
  let holding = false;
  let trigger: string | undefined;
  const listener = createServer((client) => {
    const server = dial(Number(target.port), target.hostname);
    const pair = { client, server };
    pairs.add(pair);
    client.on('data', (data: Buffer) => {
      if (trigger !== undefined && data.includes(trigger)) holding = true;
      server.write(data);
    });
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
    holdAnswersTo: (text) => {
      trigger = text;
    },
    cut,
    flow: () => {
      trigger = undefined;
      holding = false;
    },
    close: async () => {
      cut();
      await new Promise<void>((resolve) => listener.close(() => resolve()));
    },
  };
}
