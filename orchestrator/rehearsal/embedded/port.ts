import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';

// Below the range from which Linux and macOS take the local ports of outgoing connections: a server that is
// stopped and started again must find its port still free, because its URL has been handed out.
const LOWEST_PORT = 15_000;
const HIGHEST_PORT = 32_000;
const ATTEMPTS = 200;

/**
 * Finds a TCP port on 127.0.0.1 that nobody listens on now. Somebody may take it before it is used: the caller
 * has to try another one when its own bind fails.
 */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const port = randomInt(LOWEST_PORT, HIGHEST_PORT);
    if (await isFree(port)) return port;
  }
  throw new Error(`No free TCP port found between ${LOWEST_PORT} and ${HIGHEST_PORT} on 127.0.0.1.`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', () => resolve(false));
    probe.listen({ port, host: '127.0.0.1', exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
