import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ROOT } from './write.ts';

export interface Image {
  /** The root of the last stage: what a container sees as `/`. */
  readonly root: string;
  readonly user: string;
  readonly entrypoint: readonly string[];
  readonly command: readonly string[];
}

/** One instruction of a Dockerfile, with continued lines joined. */
function instructionsOf(text: string): [word: string, rest: string][] {
  return text
    .replaceAll(/\\\n/g, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, word = '', rest = ''] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return [word, rest.trim()];
    });
}

/**
 * Does what a Dockerfile says, each stage in a directory of its own, with this machine in the place of the base images:
 * their node is our node, and an absolute path of a RUN is one below that directory.
 * @throws Error for an instruction that is not known, and for a step that fails.
 */
export function buildImage(dockerfile: string, directory: string): Image {
  const stages = new Map<string, string>();
  let root = directory;
  let cwd = '/';
  let user = 'root';
  let entrypoint: string[] = [];
  let command: string[] = [];
  for (const [word, rest] of instructionsOf(readFileSync(dockerfile, 'utf8'))) {
    switch (word) {
      case 'FROM': {
        const [base = '', name = 'last'] = rest.split(/\s+AS\s+/i);
        root = join(directory, name);
        mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
        if (base.startsWith('node:')) cpSync(process.execPath, join(root, 'usr/local/bin/node'));
        stages.set(name, root);
        cwd = '/';
        user = 'root';
        break;
      }
      case 'WORKDIR':
        cwd = rest;
        mkdirSync(join(root, cwd), { recursive: true });
        break;
      case 'COPY': {
        const parts = rest.split(/\s+/);
        const from = parts[0]?.startsWith('--from=') ? stages.get(parts.shift()?.slice(7) ?? '') : ROOT;
        const to = parts.pop() ?? '';
        if (from === undefined) throw new Error(`no such stage: COPY ${rest}`);
        for (const part of parts) {
          const target = to.startsWith('/') ? join(root, to) : join(root, cwd, to);
          cpSync(join(from, part), to.endsWith('/') ? join(target, basename(part)) : target, {
            recursive: true,
            verbatimSymlinks: true,
          });
        }
        break;
      }
      case 'RUN':
        execFileSync('bash', ['-ec', rest.replaceAll(/(?<=\s)\/(app|usr)\//g, `${root}/$1/`)], {
          cwd: join(root, cwd),
          env: { ...process.env, npm_config_prefer_offline: 'true' },
          stdio: ['ignore', 'ignore', 'pipe'],
        });
        break;
      case 'USER':
        user = rest;
        break;
      case 'ENTRYPOINT':
        entrypoint = JSON.parse(rest) as string[];
        break;
      case 'CMD':
        command = JSON.parse(rest) as string[];
        break;
      case 'ENV':
      case 'EXPOSE':
        break;
      default:
        throw new Error(`what is ${word}?`);
    }
  }
  return { root, user, entrypoint, command };
}
