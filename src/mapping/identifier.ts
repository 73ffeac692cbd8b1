/** Quotes one SQL identifier, whatever it holds (PostgreSQL manual, 4.1.1). */
export function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** Quotes one SQL string literal; safe whatever `standard_conforming_strings` says. */
export function literal(text: string): string {
  const body = text.replaceAll("'", "''").replaceAll('\\', '\\\\');
  return text.includes('\\') ? ` E'${body}'` : `'${body}'`;
}

/** `schema.table`, both quoted. */
export function qualified(schema: string, table: string): string {
  return `${ident(schema)}.${ident(table)}`;
}
