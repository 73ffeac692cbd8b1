import { language, modelName, uuid } from '../generator/people.ts';
import type { Random } from '../generator/random.ts';
import { digestOf, type Subject, type Writes } from '../ledger/event.ts';
import type { SourceColumn } from '../source-columns.ts';
import type { Person } from './population.ts';

/** Columns of `user_settings` and what they shall hold; on the new schema each fact has another home. */
export type Values = Partial<Record<SourceColumn, string | null>>;

export type UpdateKind = 'save' | 'version-upgrade' | 'terms' | 'mcp-config' | 'other' | 'key-change';

/** What a client wants, told without naming a schema: it may have to ask the other side when it is refused. */
export type Operation =
  | { readonly kind: UpdateKind; readonly person: Person; readonly values: Values }
  | { readonly kind: 'sign-up'; readonly values: Values & { readonly keycloak_user_id: string } }
  | { readonly kind: 'everyone'; readonly upTo: number; readonly values: Values }
  | { readonly kind: 'delete'; readonly person: Person }
  /** Only the new schema can say these: the old one answers that there is nothing to write. */
  | { readonly kind: 'rename-org'; readonly person: Person; readonly name: string }
  | { readonly kind: 'second-member'; readonly person: Person; readonly member: number }
  | { readonly kind: 'own-settings'; readonly person: Person; readonly values: Values };

/** The column that only whole-table statements write, so that they never race with a client's own facts. */
export const EVERYONE_COLUMN = 'sandbox_base_container_image';

export function subjectOf(op: Operation): Subject {
  if (op.kind === 'sign-up') return { signUp: true };
  if (op.kind === 'everyone') return { everyUserUpTo: op.upTo };
  return { user: op.person.id };
}

/** @returns digests of the facts that the operation leaves behind. */
export function writesOf(op: Operation): Writes {
  if (!('values' in op) || op.kind === 'own-settings') return {};
  return Object.fromEntries(Object.entries(op.values).map(([column, value]) => [column, digestOf(value)]));
}

/** Values that carry a marker: which run, which client, and that client's version, which only grows. */
export interface Marker {
  readonly run: string;
  readonly client: number;
  readonly version: number;
}

const token = (m: Marker): string => `${m.run}-c${m.client}-v${m.version}`;

function markedKey(random: Random, marker: Marker): string {
  const head = `sk-${token(marker)}-`;
  const length = random.chance(0.92) ? 160 : random.chance(0.95) ? random.between(188, 416) : 4_284;
  return head + random.secret(Math.max(0, length - head.length));
}

const bool = (random: Random): string => (random.chance(0.5) ? 'true' : 'false');

/** Preferences a save may change; each makes the text that PostgreSQL prints for it. */
const PREFERENCES: readonly (readonly [SourceColumn, (random: Random) => string | null])[] = [
  ['language', language],
  ['agent', (r) => r.pick(['CodeActAgent', 'BrowsingAgent', 'Агент 7'])],
  ['max_iterations', (r) => (r.chance(0.3) ? null : String(r.between(1, 500)))],
  ['security_analyzer', (r) => r.pick([null, '', 'llm', 'invariant'])],
  ['confirmation_mode', bool],
  ['llm_model', modelName],
  ['llm_base_url', (r) => r.pick(['', null, 'https://llm.example.net/v1'])],
  ['remote_runtime_resource_factor', (r) => r.pick(['1', '2', '4', '8'])],
  ['enable_default_condenser', bool],
  ['user_consents_to_analytics', (r) => r.pick([null, 'true', 'false'])],
  ['enable_sound_notifications', bool],
  ['enable_proactive_conversation_starters', bool],
  ['search_api_key', (r) => (r.chance(0.5) ? null : r.secret(120))],
  ['max_budget_per_task', (r) => r.pick([null, '0.1', '2.5', '10'])],
  ['enable_solvability_analysis', (r) => r.pick([null, 'true', 'false'])],
];

function save(random: Random, marker: Marker): Values {
  const values: Values = { llm_api_key: markedKey(random, marker) };
  for (let n = random.between(1, 6); n > 0; n -= 1) {
    const [column, make] = random.pick(PREFERENCES);
    values[column] = make(random);
  }
  return values;
}

function versionUpgrade(random: Random, marker: Marker): Values {
  return {
    llm_model: modelName(random),
    llm_api_key: markedKey(random, marker),
    llm_base_url: 'https://llm-proxy.app.example.dev/b',
    agent: 'CodeActAgent',
    user_version: String(random.between(1, 9)),
  };
}

/** The version is in the microseconds; a last digit other than 0 is printed as it was sent. */
function terms(random: Random, marker: Marker): Values {
  const micros = String((marker.version * 10 + 7) % 1_000_000).padStart(6, '0');
  const minute = String(random.between(10, 59));
  return { accepted_tos: `2026-11-23 12:${minute}:07.${micros}`, user_consents_to_analytics: bool(random) };
}

function mcpConfig(random: Random, marker: Marker): Values {
  // Key order, a key twice, spaces and escapes have to come back as they are.
  const filler = random.secret(random.chance(0.05) ? 20_000 : random.between(20, 400));
  return {
    mcp_config: `{"sse_servers": [{"url": "https://mcp.example.com", "api_key": "${token(marker)}"}],  "a": 1.10, "a": null, "text": "\\u00e9\\u0000 ${filler}"}`,
  };
}

function other(random: Random, marker: Marker): Values {
  return {
    email: `${token(marker)}@example.org`,
    email_verified: bool(random),
    billing_margin: random.pick([null, '1', '1.5', '2']),
    sandbox_api_key: random.secret(120),
  };
}

/** The row the application inserts at sign-up; an update follows. */
export function signUpValues(random: Random, marker: Marker): Values & { keycloak_user_id: string } {
  return {
    keycloak_user_id: uuid(random),
    language: language(random),
    user_version: String(marker.version % 5),
    enable_default_condenser: 'true',
    enable_proactive_conversation_starters: 'true',
    llm_api_key: markedKey(random, marker),
  };
}

/** Save 55, version upgrade 18, sign-up 12, terms 6, mcp_config 5, others 4 (of the application's own mix). */
export function pickOrdinary(random: Random): Exclude<UpdateKind, 'key-change'> | 'sign-up' {
  const at = random.next();
  if (at < 0.55) return 'save';
  if (at < 0.73) return 'version-upgrade';
  if (at < 0.85) return 'sign-up';
  if (at < 0.91) return 'terms';
  return at < 0.96 ? 'mcp-config' : 'other';
}

const MAKERS = { save, 'version-upgrade': versionUpgrade, terms, 'mcp-config': mcpConfig, other };

export function updateOf(
  kind: Exclude<UpdateKind, 'key-change'>,
  person: Person,
  random: Random,
  marker: Marker,
): Operation {
  return { kind, person, values: MAKERS[kind](random, marker) };
}
