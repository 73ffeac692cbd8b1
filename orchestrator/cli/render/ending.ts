import type { EndDocument } from '../../state/documents.ts';

/** What `abort` or `finalize` came to, and what is still there. */
export function renderEnd(d: EndDocument, command: string): string {
  const certificate =
    d.certificate == null
      ? []
      : [
          'Certificate:',
          ...JSON.stringify(d.certificate, null, 2)
            .split('\n')
            .map((l) => `  ${l}`),
        ];
  const left = d.left.map((what) => ` left: ${what}`);
  const next = d.next_steps.length === 0 ? [] : [`Next: ${d.next_steps.join(' · ')}`];
  const verdict =
    d.outcome === 'done'
      ? `Done: ${d.phase}. ${d.serving} takes writes.`
      : d.outcome === 'no-go'
        ? `NO-GO. Nothing was changed. ${d.serving} takes writes.`
        : `Not finished: run orchestrate ${command} again. ${d.serving} takes writes.`;
  return [...certificate, ...left, verdict, ...next].join('\n');
}
