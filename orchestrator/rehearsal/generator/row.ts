import type { SourceRow } from '../source-columns.ts';
import { mcpConfig } from './mcp-config.ts';
import { email, language, modelName, timestamp, uuid } from './people.ts';
import type { Random } from './random.ts';

type Class = 'terms-only' | 'managed' | 'customised' | 'own-key';

function pickClass(random: Random): Class {
  const at = random.next();
  if (at < 0.12) return 'terms-only';
  if (at < 0.62) return 'managed';
  return at < 0.9 ? 'customised' : 'own-key';
}

const bool = (value: boolean): string => (value ? 't' : 'f');

/** NULL 12 % (they are the terms-only users), 160 characters 80 %, 188–416 7 %, 4,284 0.4 %. */
function apiKey(random: Random, kind: Class): string | null {
  if (kind === 'terms-only') return null;
  const at = random.next();
  if (at < 0.9155) return random.secret(160);
  return at < 0.9955 ? random.secret(random.between(188, 416)) : random.secret(4_284);
}

function billingMargin(random: Random): string | null {
  const at = random.next();
  if (at < 0.84) return '1';
  return at < 0.96 ? random.pick(['1.5', '2']) : null;
}

function userVersion(random: Random): string {
  const at = random.next();
  if (at < 0.62) return '4';
  return at < 0.81 ? '0' : random.pick(['1', '2', '3']);
}

/**
 * Makes the keys: 0.3 % NULL, 0.05 % '', 0.1 % upper case, 0.1 % digits, and 0.3 % that repeat an earlier key,
 * now and then the same one twice (triples).
 */
export function createKeys(random: Random): () => string | null {
  const repeatable: string[] = [];
  return () => {
    const at = random.next();
    if (at < 0.003) return null;
    if (at < 0.0035) return '';
    if (at < 0.0065 && repeatable.length > 0) return random.pick(repeatable);
    const key = uuid(random);
    if (at < 0.0075) return key.toUpperCase();
    if (at < 0.0085) return String(random.between(1_000_000, 999_999_999));
    // Few keys may be repeated, so that some are repeated more than once.
    if (repeatable.length < 40 && random.chance(0.05)) repeatable.push(key);
    return key;
  };
}

/** One real-looking row: who never came further than the terms, who keeps the defaults, who changes everything. */
export function makeRow(random: Random, id: number, key: string | null): SourceRow {
  const kind = pickClass(random);
  const touched = kind === 'customised' || kind === 'own-key';
  const own = kind === 'own-key';
  return {
    id: String(id),
    keycloak_user_id: key,
    language: language(random),
    agent: kind === 'terms-only' ? null : 'CodeActAgent',
    max_iterations: touched && random.chance(0.1) ? String(random.between(10, 500)) : null,
    security_analyzer: touched ? random.pick([null, '', 'llm', 'invariant']) : null,
    confirmation_mode: kind === 'terms-only' ? null : bool(touched && random.chance(0.2)),
    llm_model: kind === 'terms-only' ? null : modelName(random),
    llm_api_key: apiKey(random, kind),
    llm_base_url: own
      ? random.pick(['', 'https://llm.example.net/v1'])
      : 'https://llm-proxy.app.example.dev/a',
    remote_runtime_resource_factor:
      kind === 'terms-only' ? null : random.pick(['1', '1', '1', '2', '4', '8']),
    enable_default_condenser: bool(random.chance(0.97)),
    user_consents_to_analytics: random.pick([null, 't', 't', 'f']),
    billing_margin: billingMargin(random),
    enable_sound_notifications: random.pick([null, 't', 'f']),
    sandbox_base_container_image: random.chance(0.002) ? 'python:3.12-bookworm' : null,
    sandbox_runtime_container_image: random.chance(0.002)
      ? `registry.example.org/${random.secret(12)}`
      : null,
    user_version: userVersion(random),
    accepted_tos: random.chance(0.07) ? null : timestamp(random),
    enable_proactive_conversation_starters: bool(random.chance(0.9)),
    mcp_config: mcpConfig(random),
    search_api_key: random.chance(0.03) ? random.secret(120) : null,
    max_budget_per_task: random.chance(0.05) ? random.pick(['0.1', '2.5', '10', '100.25']) : null,
    sandbox_api_key: random.chance(0.01) ? random.secret(120) : null,
    enable_solvability_analysis: touched ? random.pick([null, 't', 'f']) : null,
    email: random.chance(0.02) ? email(random) : null,
    email_verified: random.chance(0.02) ? bool(random.chance(0.5)) : null,
  };
}
