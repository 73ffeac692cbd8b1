import { expect } from 'vitest';
import type { Hunter } from './hunter.ts';

/** Connection strings that fail, each in another way, in every place where one can stand. */
export async function huntConnectionStrings(
  hunter: Hunter,
  environment: Readonly<Record<string, string>>,
  secrets: { readonly unused: string; readonly console: string },
  server: URL,
  file: (name: string, text: string) => string,
): Promise<void> {
  const { unused } = secrets;
  const encoded = encodeURIComponent(unused);
  const { host, username, pathname } = server;
  const strings = [
    `postgres://u:${encoded}@127.0.0.1:1/d`,
    `postgres://${username}:${encoded}@${host}${pathname}`,
    `postgres://${username}:${encoded}@${host}/no_such`,
    `postgres://u:${unused}@h/d`,
    `postgres://u:${encoded}%@h/d`,
    `postgres://u:${encoded}%zz@h:99999/d`,
    `mysql://u:${encoded}@h/d`,
    `host=h user=u password='${unused.replaceAll("'", "\\'")}' dbname=d`,
    `host=h password=${encoded}`,
    `postgres://u:${encoded}@h/d?sslmode=require&password=${encoded}`,
    `postgres://u@h/d?password=${encoded}`,
    `postgres://u:${encoded}@no-such-host.invalid/d`,
    `jdbc:postgresql://h/d?user=u&password=${encoded}`,
    `postgres:u:${unused}@h/d`,
    unused,
  ];
  const places: ((url: string, n: number) => [string[], Record<string, string>])[] = [
    (url) => [[], { ORCHESTRATE_GREEN_URL: url }],
    (url) => [['--green-url', url], {}],
    (url, n) => [[], { ORCHESTRATE_GREEN_URL: '', ORCHESTRATE_GREEN_URL_FILE: file(`url-${n}`, url) }],
    (url, n) => [
      ['--config', file(`config-${n}.yaml`, `green-url: ${JSON.stringify(url)}\n`)],
      { ORCHESTRATE_GREEN_URL: '' },
    ],
    // Where it does not belong.
    (url) => [['--reason', url, '--migration', url], {}],
    (url) => [[`--${url}`], {}],
    (url) => [
      [],
      { ORCHESTRATE_PGBOUNCER_CONSOLES: `${url},postgres://u:${encodeURIComponent(secrets.console)}@h/d` },
    ],
  ];
  const cases = strings.map((url, n) => [url, places[n % places.length]] as const);
  const commands = [
    ['status'],
    ['config', 'show'],
    ['preflight', '--json'],
    ['config', 'validate', '--json'],
  ];
  const work = cases.entries();
  const lane = async () => {
    for (const [n, [url, place]] of work) {
      if (place === undefined) continue;
      const [args, more] = place(url, n);
      const ended = await hunter.start(
        [...(commands[n % commands.length] ?? []), ...args, '--log-level', 'debug'],
        { ...environment, ...more },
        { as: `connection string ${n}`, listed: false },
      ).ended;
      expect([n, ended.exit === null, /^\s+at /m.test(ended.stderr)]).toEqual([n, false, false]);
    }
  };
  await Promise.all([lane(), lane(), lane()]);
}
