import { personName } from './people.ts';
import type { Random } from './random.ts';

/** The 61 characters that a quarter of the users have. */
const EMPTY_CONFIG = '{"sse_servers": [], "stdio_servers": [], "shttp_servers": []}';

/** A string as Python's json.dumps writes it: non-ASCII as \uXXXX, astral characters as surrogate pairs. */
export function pythonString(text: string): string {
  let out = '"';
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    const c = text.charAt(i);
    if (c === '"' || c === '\\') out += `\\${c}`;
    else if (c === '\n') out += '\\n';
    else if (c === '\t') out += '\\t';
    else if (unit >= 32 && unit < 127) out += c;
    else out += `\\u${unit.toString(16).padStart(4, '0')}`;
  }
  return `${out}"`;
}

function serverCount(random: Random): number {
  const at = random.next();
  if (at < 0.55) return 1;
  if (at < 0.85) return random.between(2, 4);
  return at < 0.97 ? random.between(5, 10) : random.between(11, 40);
}

/** A real configuration: one to forty servers, now and then with one huge argument. */
function realConfig(random: Random): string {
  const remote: string[] = [];
  const local: string[] = [];
  for (let n = serverCount(random); n > 0; n -= 1) {
    if (random.chance(0.5)) {
      const url = pythonString(`https://mcp-${random.between(1, 500)}.example.com/sse`);
      const key = random.chance(0.6) ? pythonString(random.secret(40)) : 'null';
      remote.push(`{"url": ${url}, "api_key": ${key}}`);
    } else {
      const name = pythonString(`${personName(random)} tools`);
      const args = ['-y', `@scope/server-${random.between(1, 99)}`].map(pythonString).join(', ');
      const env = `{"TOKEN": ${pythonString(random.secret(32))}}`;
      local.push(`{"name": ${name}, "command": "npx", "args": [${args}], "env": ${env}}`);
    }
  }
  if (random.chance(0.004)) {
    const size = random.pick([20_000, 60_000, 200_000]);
    local.push(
      `{"name": "large", "command": "cat", "args": [${pythonString(random.secret(size))}], "env": {}}`,
    );
  }
  return `{"sse_servers": [${remote.join(', ')}], "stdio_servers": [${local.join(', ')}], "shttp_servers": []}`;
}

/** JSON null 39 %, SQL NULL 23 %, the empty configuration 26 %, a real one 12 %. */
export function mcpConfig(random: Random): string | null {
  const at = random.next();
  if (at < 0.39) return 'null';
  if (at < 0.62) return null;
  return at < 0.88 ? EMPTY_CONFIG : realConfig(random);
}
