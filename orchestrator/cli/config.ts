import type { Origin } from '../config/settings.ts';
import { environmentName, OPTION_NAMES, type OptionName } from '../config/tree.ts';
import type { Call, Command, Result } from './command.ts';
import { SUMMARIES } from './summaries.ts';

export const config: Command = {
  name: 'config',
  describe: SUMMARIES.config,
  action: { choices: ['validate', 'show'], describe: 'Check it, or show every option' },
  flags: {
    'json-schema': {
      kind: 'boolean',
      describe: 'With show: the JSON schemas of what every command prints with --json, instead',
    },
  },
  options: [],
  examples: [
    ['$0 config validate --config orchestrate.yaml', 'every problem at once, exit 2'],
    ['$0 config show', 'every option with its value and its source'],
    ['$0 config show --json-schema', 'schemas by command, to generate types from or to validate with'],
  ],
  acts: false,
  run: look,
};

/** The document of `config validate` and `config show`. */
export interface ConfigDocument {
  /** Always true: what is wrong ends the command with CONFIG_INVALID before. */
  readonly valid: true;
  /** Every option in the order of the reference; a secret without its password. */
  readonly options: readonly {
    readonly name: OptionName;
    readonly variable: string;
    /** As it would be typed; null when it is not set. */
    readonly value: string | null;
    readonly source: Origin;
  }[];
}

async function look({ settings, flags }: Call): Promise<Result> {
  if (flags['action'] === 'show' && flags['json-schema'] === true) {
    const { SCHEMAS } = await import('./schemas.ts');
    return { exit: 0, document: SCHEMAS, text: () => JSON.stringify(SCHEMAS, null, 2) };
  }
  const [{ endpointOf }, { address }, { renderConfig }] = await Promise.all([
    import('../pg/endpoints.ts'),
    import('../pg/endpoint.ts'),
    import('./render/config.ts'),
  ]);
  const value = (name: OptionName): string | null => {
    if (name !== 'blue-url' && name !== 'green-url') return settings.shown[name] ?? null;
    return settings.shown[name] === undefined ? null : address(endpointOf(settings, sideOf(name)));
  };
  // A file that holds a URL is read as well: it is the URL that has to be right.
  for (const side of ['blue', 'green'] as const) if (settings.urls[side] !== null) endpointOf(settings, side);
  const document: ConfigDocument = {
    valid: true,
    options: OPTION_NAMES.map((name) => ({
      name,
      variable: environmentName(name),
      value: value(name),
      source: settings.origins[name],
    })),
  };
  const all = flags['action'] === 'show';
  return { exit: 0, document, text: () => renderConfig(document, all) };
}

const sideOf = (name: 'blue-url' | 'green-url') => (name === 'blue-url' ? 'blue' : 'green');
