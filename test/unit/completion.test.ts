import { spawnSync } from 'node:child_process';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { COMMANDS } from '../../orchestrator/cli/commands.ts';
import { execute } from '../../orchestrator/cli/execute.ts';
import { OPTION_NAMES } from '../../orchestrator/config/tree.ts';
import { schemaProblems } from '../support/schemas/validate.ts';

async function orchestrate(
  args: readonly string[],
  environment: Record<string, string> = {},
): Promise<{ exit: number; stdout: string; stderr: string }> {
  const streams = [new PassThrough(), new PassThrough()] as const;
  const exit = await execute(args, {
    stdin: {},
    stdout: streams[0],
    stderr: streams[1],
    environment,
    signal: new AbortController().signal,
  });
  const [stdout = '', stderr = ''] = streams.map((s) => String(s.read() ?? ''));
  return { exit, stdout, stderr };
}

describe('config show --json-schema', () => {
  it('prints the schemas', async () => {
    const { exit, stdout } = await orchestrate(['config', 'show', '--json-schema']);
    expect(exit).toBe(0);
    expect(Object.keys((JSON.parse(stdout) as { properties: object }).properties)).toHaveLength(
      COMMANDS.length,
    );
    const plain = JSON.parse((await orchestrate(['config', 'show', '--json'])).stdout) as object;
    expect(schemaProblems('config', plain)).toEqual([]);
  });
});

describe('completion', () => {
  /** What bash would offer for a line that ends here. */
  function offered(script: string, ...words: string[]): string[] {
    const { stdout, stderr } = spawnSync(
      'bash',
      [
        '-c',
        `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _orchestrate; printf '%s\\n' "\${COMPREPLY[@]}"`,
        'bash',
        'orchestrate',
        ...words,
      ],
      { encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    return stdout.split('\n').filter((line) => line !== '');
  }

  it('bash offers commands, flags of the command, and the values of a flag', async () => {
    const { exit, stdout } = await orchestrate(['completion', 'bash']);
    expect(exit).toBe(0);
    expect(offered(stdout, 'cu')).toEqual(['cutover']);
    expect(offered(stdout, '').length).toBe(COMMANDS.length + 2);
    expect(offered(stdout, 'cutover', '--d')).toEqual(['--dry-run']);
    expect(offered(stdout, 'migrate', 'd')).toEqual(['down']);
    expect(offered(stdout, 'run', '--traffic', 'pg')).toEqual(['pgbouncer']);
    expect(offered(stdout, 'status', '--dry')).toEqual([]);
  });

  it.each(['zsh', 'fish'])('%s has every command and every option', async (shell) => {
    const { exit, stdout } = await orchestrate(['completion', shell]);
    expect(exit).toBe(0);
    for (const { name } of COMMANDS) expect(stdout).toContain(name);
    for (const name of OPTION_NAMES) expect(stdout).toContain(shell === 'fish' ? `-l ${name} ` : `--${name}`);
  });

  it('as a document', async () => {
    const { stdout } = await orchestrate(['completion', 'bash', '--json']);
    expect(schemaProblems('completion', JSON.parse(stdout))).toEqual([]);
  });
});

describe('every command', () => {
  it.each(COMMANDS.map((c) => [c.name, c] as const))(
    '%s has examples that its own parser understands',
    async (_name, command) => {
      expect(command.examples.length).toBeGreaterThan(0);
      for (const [line] of command.examples) expect(line).toContain('$0 ');
    },
  );
});
