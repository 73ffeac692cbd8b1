import { afterEach, describe, expect, it, vi } from 'vitest';
import { requireTool } from '../support/tool.ts';

describe('a tool that a test needs', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it('is found on the path', () => {
    expect(requireTool('sh', 'nothing')).toMatchObject({ found: true, path: expect.stringMatching(/\/sh$/) });
  });

  it('is a reason to skip here, with the command that installs it, and a failure in CI', () => {
    vi.stubEnv('ORCHESTRATE_CI', '');
    const missing = requireTool('no-such-tool-at-all', 'apt-get install no-such-tool');
    expect(missing).toMatchObject({
      found: false,
      reason: expect.stringContaining('apt-get install no-such-tool'),
    });
    vi.stubEnv('ORCHESTRATE_CI', '1');
    expect(() => requireTool('no-such-tool-at-all', 'apt-get install no-such-tool')).toThrow('not installed');
  });
});
