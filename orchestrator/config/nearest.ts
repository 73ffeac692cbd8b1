/** Edits (insert, delete, replace, swap of neighbours) from one word to the other. */
function distance(a: string, b: string): number {
  const rows: number[][] = [Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(
        (rows[i - 1]?.[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (rows[i - 1]?.[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, (rows[i - 2]?.[j - 2] ?? 0) + 1);
      row.push(best);
    }
    rows.push(row);
  }
  return rows[a.length]?.[b.length] ?? 0;
}

/**
 * The name that was probably meant. Case and the choice of `_` or `-` count for nothing.
 * @returns the nearest of `names`, or undefined when none is near.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const plain = (s: string) =>
    s
      .slice(0, 64)
      .replaceAll(/([a-z])([A-Z])/g, '$1-$2')
      .toLowerCase()
      .replaceAll('_', '-');
  let found: { name: string; edits: number } | undefined;
  for (const name of names) {
    const edits = distance(plain(word), plain(name));
    if (found === undefined || edits < found.edits) found = { name, edits };
  }
  const allowed = Math.max(1, Math.floor(word.length / 3));
  return found !== undefined && found.edits <= allowed ? found.name : undefined;
}
