import { readFileSync } from 'node:fs';
import type { Settings, UrlSource } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import { type Endpoint, parseEndpoint } from '../pg/endpoint.ts';
import type { Side } from '../pg/side.ts';

/**
 * @returns the endpoint of a side; a URL in a file is read anew each time, so that a rotated password is picked up.
 * @throws OrchestrateError CONFIG_INVALID.
 */
export function endpointOf(settings: Settings, side: Side): Endpoint {
  const source = settings.urls[side];
  if (!source)
    throw failure('CONFIG_INVALID', {
      message: `no ${side} database was named`,
      expected: `--${side}-url, ORCHESTRATE_${side.toUpperCase()}_URL or ORCHESTRATE_${side.toUpperCase()}_URL_FILE`,
      found: 'none of them',
    });
  return parseEndpoint(side, textOf(side, source));
}

/** @returns both endpoints. */
export function endpointsOf(settings: Settings): Readonly<Record<Side, Endpoint>> {
  return { blue: endpointOf(settings, 'blue'), green: endpointOf(settings, 'green') };
}

function textOf(side: Side, source: UrlSource): string {
  if (source.kind === 'url') return source.url.reveal();
  try {
    return readFileSync(source.path, 'utf8').trim();
  } catch (cause) {
    throw failure('CONFIG_INVALID', {
      message: `the file with the ${side} URL cannot be read`,
      expected: 'a readable file with one URL',
      found: (cause as NodeJS.ErrnoException).code ?? 'an error',
    });
  }
}
