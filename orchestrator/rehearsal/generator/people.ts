import type { Random } from './random.ts';

/** What people type, as they type it: scripts, marks and joiners of many kinds, and slips of the keyboard. */
const NAMES = [
  'Ada',
  'Jos\u00e9',
  'Jose\u0301',
  'Zoë',
  'Đặng Thị',
  '张伟',
  '山田太郎',
  '김민준',
  'Владимир',
  'محمد',
  'שרה',
  'प्रिया',
  'สมชาย',
  "O'Brien",
  'team "blue"',
  '👩🏽‍💻',
  '👨‍👩‍👧‍👦',
  'İstanbul',
  'straße',
] as const;

const LANGUAGES = [
  'zh-CN',
  'ja',
  'es',
  'fr',
  'de',
  'pt',
  'ko-KR',
  'zh-TW',
  'ar',
  'it',
  'no',
  'tr',
  'uk',
] as const;

const MODELS = [
  'litellm_proxy/prod/claude-sonnet-4-20250514',
  'anthropic/claude-3-5-sonnet-20241022',
  'openai/gpt-4o-2024-11',
  'openai/o4-mini-high',
  'gemini/gemini-2.5-pro-preview-05-06',
  'openrouter/deepseek/deepseek-r1',
  'mistral/devstral-small-2505',
] as const;

export function personName(random: Random): string {
  return random.pick(NAMES);
}

/** NULL 12 %, English 77 %, the rest others. */
export function language(random: Random): string | null {
  const at = random.next();
  if (at < 0.12) return null;
  return at < 0.89 ? 'en' : random.pick(LANGUAGES);
}

/** 14 to 60 characters mostly; some 200, some in other scripts, some with a trailing space. */
export function modelName(random: Random): string {
  const at = random.next();
  if (at < 0.95) return random.pick(MODELS);
  if (at < 0.97) return `${random.pick(MODELS)} `;
  if (at < 0.985) return `custom/${personName(random)}-模型-${random.between(1, 99)}`;
  return `azure/deployments/${'region-'.repeat(24)}${random.secret(14)}`;
}

/** A version 4 UUID as Keycloak prints it. */
export function uuid(random: Random): string {
  const hex = (length: number): string => {
    let text = '';
    for (let i = 0; i < length; i += 1) text += random.between(0, 15).toString(16);
    return text;
  };
  return `${hex(8)}-${hex(4)}-4${hex(3)}-${random.pick(['8', '9', 'a', 'b'])}${hex(3)}-${hex(12)}`;
}

export function email(random: Random): string {
  return `${personName(random).replaceAll(/[\s"']/g, '.')}+${random.between(1, 9999)}@example.org`;
}

/** UTC with microseconds, as PostgreSQL prints a timestamp: no trailing zeros in the fraction. */
export function timestamp(random: Random): string {
  const two = (n: number): string => String(n).padStart(2, '0');
  const day = `${random.between(2024, 2026)}-${two(random.between(1, 12))}-${two(random.between(1, 28))}`;
  const time = `${two(random.between(0, 23))}:${two(random.between(0, 59))}:${two(random.between(0, 59))}`;
  const micros = String(random.between(1, 999_999)).padStart(6, '0').replace(/0+$/, '');
  return `${day} ${time}.${micros}`;
}
