import { readFileSync } from 'node:fs';
import type { Settings } from '../config/settings.ts';
import { failure, OrchestrateError } from '../errors/failure.ts';
import { rememberUrl } from '../log/redact.ts';
import { type Endpoint, parseEndpoint } from './endpoint.ts';
import { SIDES, type Side } from './side.ts';

/**
 * The connection of a side, from its URL or from the file the URL is mounted in.
 * @throws OrchestrateError CONFIG_INVALID when there is none, or it cannot be used; never repeats it.
 */
export function endpointOf(settings: Pick<Settings, 'urls'>, side: Side): Endpoint {
  const source = settings.urls[side];
  if (source === null)
    throw failure('CONFIG_INVALID', {
      message: `the ${side} database is not named`,
      expected: `ORCHESTRATE_${side.toUpperCase()}_URL, ORCHESTRATE_${side.toUpperCase()}_URL_FILE or --${side}-url`,
      found: 'none of them',
      fix: `export ORCHESTRATE_${side.toUpperCase()}_URL=postgres://user@host:5432/database`,
    });
  const read = () =>
    parseEndpoint(side, source.kind === 'url' ? source.url.reveal() : readUrl(side, source.path));
  return { ...read(), renewed: read };
}

/** The URL itself, with its password: for a file or the environment of a child, never for a log. */
export function urlOf(settings: Pick<Settings, 'urls'>, side: Side): string {
  endpointOf(settings, side);
  const source = settings.urls[side];
  return source?.kind === 'url' ? source.url.reveal() : readUrl(side, source?.path ?? '');
}

/** The connections of both sides, as they are configured at this moment. @throws OrchestrateError CONFIG_INVALID */
export function endpointsOf(settings: Pick<Settings, 'urls'>): Readonly<Record<Side, Endpoint>> {
  const found: Partial<Record<Side, Endpoint>> = {};
  const errors: OrchestrateError[] = [];
  for (const side of SIDES)
    try {
      found[side] = endpointOf(settings, side);
    } catch (error) {
      if (!(error instanceof OrchestrateError)) throw error;
      errors.push(error);
    }
  const { blue, green } = found;
  if (blue !== undefined && green !== undefined) return { blue, green };
  const [first, second] = errors;
  if (first === undefined || second === undefined) throw first ?? failure('INTERNAL');
  // Both at once: nobody wants to mend one and then be told of the other.
  const both = (part: 'expected' | 'found' | 'fix') =>
    [first, second].flatMap((e) => e.detail[part] ?? []).join('; ');
  throw failure('CONFIG_INVALID', {
    message: `${first.message}; ${second.message}`,
    expected: both('expected'),
    found: both('found'),
    ...(both('fix') === '' ? {} : { fix: both('fix') }),
  });
}

function readUrl(side: Side, path: string): string {
  let text: string;
  try {
    text = readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw failure('CONFIG_INVALID', {
      message: `the file of the ${side} URL cannot be read`,
      expected: `a readable file at ${path}`,
      found: (error as NodeJS.ErrnoException).code ?? 'an error',
      fix: `check --${side}-url-file and the rights of that file`,
    });
  }
  if (text === '')
    throw failure('CONFIG_INVALID', {
      message: `the file of the ${side} URL is empty`,
      expected: `postgres://user@host:port/database in ${path}`,
      found: 'nothing',
    });
  rememberUrl(text);
  return text;
}
