import type { Row } from './panel.ts';
import { COPY, REPLICATION, SAFETY } from './rows-flow.ts';
import { GATES, GLANCE } from './rows-glance.ts';
import { COUNTS, HANDOVER, RUNTIME } from './rows-proof.ts';

/** OPERATIONS 2, from top to bottom. */
export const ROWS: readonly Row[] = [GLANCE, GATES, COPY, REPLICATION, SAFETY, COUNTS, HANDOVER, RUNTIME];
