import type { ErrorDocument } from '../errors/failure.ts';
import { scrub } from '../log/redact.ts';
import type { Style } from './terminal.ts';

/** What may be printed of an error's document. */
export function scrubbed(document: ErrorDocument): ErrorDocument {
  const clean = (text: string | null) => (text === null ? null : scrub(text));
  return {
    ...document,
    message: scrub(document.message),
    expected: clean(document.expected),
    found: clean(document.found),
    fix: scrub(document.fix),
  };
}

/** The failure as a person reads it: code, which side serves, expected, found, fix and runbook, in that order. */
export function reportFailure(error: ErrorDocument, style: Style): string {
  const lines: [string, string | null][] = [
    ['serving', error.serving ?? 'unknown'],
    ['expected', error.expected],
    ['found', error.found],
    ['fix', error.fix],
    ['runbook', error.runbook],
  ];
  const shown = lines
    .filter(([, text]) => text !== null)
    .map(([name, text]) => `  ${style.dim(name.padEnd(8))}  ${indent(text ?? '')}`);
  return [`${style.red(style.bold(error.code))}  ${indent(error.message)}`, ...shown].join('\n');
}

function indent(text: string): string {
  return text.replaceAll('\n', '\n            ');
}
