/** Certificates made on the spot, by the program `openssl`: nothing that a real server ever uses. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { requireTool } from './tool.ts';

export const openssl = requireTool('openssl', 'apt-get install openssl');

/** Paths of a certificate and its key, in PEM form. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

export interface Authority extends Certificate {
  /** A certificate of this authority. @param names such as `DNS:localhost`; none makes one for a client. */
  issue(subject: string, names?: readonly string[], days?: number): Certificate;
}

/** @returns a maker of authorities in a scratch directory, and what removes it. */
export function certificates(): { authority(name: string): Authority; remove(): void } {
  const directory = mkdtempSync(join(tmpdir(), 'orchestrate-tls-'));
  let made = 0;
  const run = (...args: string[]): void =>
    void execFileSync('openssl', args, { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout'];
  const next = (): string => join(directory, `pem-${made++}`);
  return {
    authority: (name) => {
      const own = next();
      run('req', '-x509', ...key, `${own}.key`, '-out', `${own}.crt`, '-days', '2', '-subj', `/CN=${name}`);
      return {
        cert: `${own}.crt`,
        key: `${own}.key`,
        issue: (subject, names = [], days = 2) => {
          const path = next();
          run('req', '-new', ...key, `${path}.key`, '-out', `${path}.csr`, '-subj', `/CN=${subject}`);
          writeFileSync(`${path}.ext`, names.length > 0 ? `subjectAltName=${names.join(',')}\n` : '');
          const signed = ['-CA', `${own}.crt`, '-CAkey', `${own}.key`, '-set_serial', String(made)];
          const valid = ['-days', String(days), '-extfile', `${path}.ext`];
          run('x509', '-req', '-in', `${path}.csr`, ...signed, ...valid, '-out', `${path}.crt`);
          return { cert: `${path}.crt`, key: `${path}.key` };
        },
      };
    },
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}
