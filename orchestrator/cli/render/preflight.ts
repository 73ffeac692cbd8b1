import type { PreflightDocument } from '../../state/documents.ts';
import type { Style } from '../terminal.ts';

/** `preflight` for a person: what stops first, then what is worth reading. */
export function renderPreflight(d: PreflightDocument, style: Style): string {
  const ordered = [...d.findings].sort(
    (a, b) => Number(b.severity === 'stop') - Number(a.severity === 'stop'),
  );
  const lines = ordered.flatMap((f) => [
    `${f.severity === 'stop' ? style.red('STOP') : style.yellow('WARN')}  ${f.check}${f.side === null ? '' : ` (${f.side})`}`,
    `      expected  ${f.expected}`,
    `      found     ${f.found}`,
    `      fix       ${f.fix}`,
  ]);
  const stops = d.findings.filter((f) => f.severity === 'stop').length;
  const warnings = d.findings.length - stops;
  const verdict = d.ok ? style.green('Ready.') : style.red(`Not ready: ${stops} to mend.`);
  return [...lines, `${verdict}${warnings > 0 ? ` ${warnings} worth reading.` : ''}`].join('\n');
}
