import { CATALOGUE, type CatalogueEntry, type ErrorCode } from '../../../orchestrator/errors/catalogue.ts';
import { METRIC_NAMES, metricEntry, PREFIX } from '../../../orchestrator/metrics/names.ts';
import { commandLinesOf } from './command-line.ts';
import { anchorOf, code, table } from './markdown.ts';

const ENTRIES = Object.entries(CATALOGUE) as [ErrorCode, CatalogueEntry][];

const EXIT: Readonly<Record<0 | CatalogueEntry['exit'], string>> = {
  0: 'done; nothing to do; `verify`: clean',
  1: 'an error, or `run` stopped',
  2: 'usage: flag, variable, file, or a confirmation that is missing',
  3: 'no-go: a gate, preflight or verification says no; nothing was changed',
  4: 'a database cannot be reached, or refuses the login',
  5: 'the handover was undone; the serving side is the same as before',
  6: 'not finished, run it again: a decided handover (`orchestrate run`), or `abort`',
  7: 'another runner holds the lease',
  8: 'timed out',
  130: 'interrupted (SIGINT)',
  143: 'terminated (SIGTERM)',
};

/** The exit codes, and which errors end with each. */
export function exitCodes(): string {
  return table(
    ['exit', 'meaning', 'errors'],
    Object.entries(EXIT).map(([exit, meaning]) => [
      exit,
      meaning,
      ENTRIES.filter(([, entry]) => String(entry.exit) === exit)
        .map(([name]) => `[${name}](#${anchorOf(name)})`)
        .join(' '),
    ]),
  );
}

/** A mend, with the commands in it set as code. */
function mend(fix: string): string {
  return commandLinesOf(fix).reduce((text, { line, at }) => {
    return `${text.slice(0, at)}${code(line)}${text.slice(at + line.length)}`;
  }, fix);
}

/** Every error: what it means, what mends it, whether the program tries again by itself. */
export function errors(): string {
  return table(
    ['code', 'exit', 'means', 'mend', 'tried again by itself'],
    ENTRIES.map(([name, entry]) => [
      `<a id="${anchorOf(name)}"></a>${code(name)}`,
      String(entry.exit),
      entry.meaning,
      mend(entry.fix),
      entry.retry === 'transient' ? 'yes' : 'no',
    ]),
  );
}

/** Every metric. */
export function metrics(): string {
  return table(
    ['metric', 'type', 'labels', 'meaning'],
    METRIC_NAMES.map((name) => {
      const entry = metricEntry(name);
      if (entry === undefined) throw new Error(`no metric ${name}`);
      return [code(`${PREFIX}${name}`), entry.type, entry.labels.map(code).join(', '), entry.help];
    }),
  );
}
