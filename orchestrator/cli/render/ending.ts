import type { EndDocument } from '../../state/documents.ts';
import { seconds, UNKNOWN } from './format.ts';

/** What `abort` or `finalize` came to, and what is still there. */
export function renderEnd(d: EndDocument, command: string): string {
  const left = d.left.map((what) => ` left: ${what}`);
  const next = d.next_steps.length === 0 ? [] : [`Next: ${d.next_steps.join(' · ')}`];
  const verdict =
    d.outcome === 'done'
      ? `Done: ${d.phase}. ${d.serving} takes writes.`
      : d.outcome === 'no-go'
        ? `NO-GO. Nothing was changed. ${d.serving} takes writes.`
        : `Not finished: run orchestrate ${command} again. ${d.serving} takes writes.`;
  return [...certificateLines(d.certificate ?? null), ...left, verdict, ...next].join('\n');
}

/** The certificate of the last handover, a fact a line; lists are counted, `--json` has them whole. */
function certificateLines(certificate: Readonly<Record<string, unknown>> | null): string[] {
  if (certificate === null) return [];
  return [
    'Certificate of the last handover',
    ...Object.entries(certificate).map(([name, value]) => ` ${name.padEnd(14)} ${fact(name, value)}`),
  ];
}

function fact(name: string, value: unknown): string {
  if (Array.isArray(value)) {
    const items = value as { passed?: boolean; ok?: boolean }[];
    const good = items.filter((item) => (item.passed ?? item.ok) !== false).length;
    return good === items.length ? String(good) : `${good}/${items.length}`;
  }
  if (typeof value === 'number' && name.endsWith('_seconds')) return seconds(value);
  if (value === null || value === undefined) return UNKNOWN;
  if (typeof value !== 'object') return String(value as string | number | boolean);
  return Object.entries(value)
    .map(([part, of]) => `${part.replaceAll('_', ' ')} ${typeof of === 'string' ? of : JSON.stringify(of)}`)
    .join(', ');
}
