/** Tables and marks of the README's generated sections. */

/** A table; a `|` in a cell would end it. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** Text as inline code. */
export function code(text: string): string {
  return `\`${text}\``;
}

/** The anchor that errors print as `README.md#…`. */
export function anchorOf(errorCode: string): string {
  return errorCode.toLowerCase().replaceAll('_', '-');
}

const BEGIN = (name: string) => `<!-- generated: ${name} (npm run docs) -->`;
const END = '<!-- end of generated -->';

/**
 * Puts every section's text between its marks.
 * @throws Error when a section has no marks, or marks name no section: either is a README that nobody keeps up.
 */
export function fillIn(readme: string, sections: Readonly<Record<string, string>>): string {
  let text = readme;
  for (const [name, content] of Object.entries(sections)) {
    const from = text.indexOf(BEGIN(name));
    const to = text.indexOf(END, from);
    if (from < 0 || to < 0) throw new Error(`the README has no marks for the section "${name}"`);
    text = `${text.slice(0, from)}${BEGIN(name)}\n\n${content}\n\n${text.slice(to)}`;
  }
  const marked = [...text.matchAll(/<!-- generated: (\S+) /g)].map((m) => m[1] ?? '');
  const unknown = marked.filter((name) => !(name in sections));
  if (unknown.length > 0) throw new Error(`nothing generates the sections ${unknown.join(', ')}`);
  return text;
}
