import { setTimeout as delay } from 'node:timers/promises';

/**
 * Waits until `condition` returns something other than `false`, `null` or `undefined`, and returns that.
 *
 * @param what named in the error, for example `the server to end`
 * @throws Error when `timeoutMs` (default 30 s) has passed; its cause is the condition's last own error, if any
 */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  timeoutMs = 30_000,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = Date.now() + timeoutMs;
  let lastError: unknown;
  for (;;) {
    try {
      const result = await condition();
      if (result !== false && result !== null && result !== undefined) {
        return result as Exclude<T, false | null | undefined>;
      }
      lastError = undefined;
    } catch (error) {
      lastError = error;
    }
    if (Date.now() > deadline) {
      throw new Error(
        `Waited ${timeoutMs} ms for ${what}.`,
        lastError === undefined ? {} : { cause: lastError },
      );
    }
    await delay(25);
  }
}
