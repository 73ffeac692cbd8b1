import type { ChainDocument } from '../../state/journal-chain.ts';
import { count } from './format.ts';

/** More lines than this help nobody; `--json` has them. */
const SHOWN = 20;

/** `events --verify` for a person. */
export function renderChain(chain: ChainDocument): string {
  const lines = chain.problems
    .slice(0, SHOWN)
    .map((p) => ` ${p.kind.padEnd(8)}  ${p.entry === null ? '' : `entry ${p.entry}: `}${p.detail}`);
  const rest = chain.problems.length + chain.more - lines.length;
  if (rest > 0) lines.push(` and ${count(rest)} more`);
  const head = chain.head === null ? 'no link yet' : `head ${chain.head.position}:${chain.head.hash}`;
  return [...lines, `${chain.intact ? 'Intact' : 'CHANGED'}: ${count(chain.entries)} entries, ${head}`].join(
    '\n',
  );
}
