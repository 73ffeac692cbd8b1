import type pg from 'pg';
import { SOURCE_TABLE } from '../../src/mapping/columns.ts';
import { qualified } from '../../src/mapping/identifier.ts';
import { SIDES, type Side } from '../pg/side.ts';
import type { PreflightDocument } from '../state/documents.ts';
import { connectBoth, ownerOf, type Place } from './control.ts';
import { checkActivity, checkClocks } from './preflight/activity.ts';
import { checkBackup } from './preflight/backup.ts';
import { checkDecoding, checkDirect } from './preflight/connection.ts';
import type { Finding, SideFacts } from './preflight/finding.ts';
import { checkColours, checkControl, checkDistinct, checkLeftovers } from './preflight/pair.ts';
import { checkForeignSessions, checkRights } from './preflight/rights.ts';
import { checkServer, readFacts } from './preflight/server.ts';
import { checkSource } from './preflight/source.ts';
import { checkTarget } from './preflight/target.ts';

export interface PreflightOptions {
  /** Sessions that copy, on each side. */
  readonly copyWorkers: number;
  /** Whether somebody vouches for a backup; undefined where nobody was asked. */
  readonly backupConfirmed?: boolean;
  /** The login that will run the migration, where it is not the one in use. */
  readonly login?: string;
}

/**
 * Checks everything that could stop a run later, changes nothing, and reports all findings at once (FIELD-NOTES B).
 * Once this migration has begun, what it made itself is no finding.
 * @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION.
 */
export async function preflight(place: Place, options: PreflightOptions): Promise<PreflightDocument> {
  const clients = await connectBoth(place, 'preflight');
  try {
    const facts = {
      blue: await readFacts(clients.blue, 'blue', options.login),
      green: await readFacts(clients.green, 'green', options.login),
    };
    const findings: Finding[] = [];
    const same = await checkDistinct(clients);
    findings.push(...same);

    const control = await checkControl(clients, place.names);
    findings.push(...control.findings);
    const colours =
      same.length > 0 ? { findings: [], swapped: false } : await checkColours(clients, place.schemas);
    findings.push(...colours.findings);
    const confused = same.length > 0 || colours.swapped || control.findings.length > 0;
    if (!confused && !control.ours)
      findings.push(...(await checkLeftovers(clients, place.names, place.schemas)));

    for (const side of SIDES) findings.push(...(await checkSide(place, clients[side], facts[side], options)));
    // Where a side is not what its URL says, its tables would only add noise to the one finding that matters.
    if (!confused || control.ours) {
      findings.push(...(await checkSource(clients.blue, facts.blue, place.schemas.source)));
      if (!control.ours) findings.push(...(await checkTarget(clients.green, facts.green, place.schemas)));
    }
    findings.push(...(await checkClocks(clients)));
    findings.push(...checkBackup(options.backupConfirmed));
    return { ok: findings.every((f) => f.severity !== 'stop'), findings };
  } finally {
    await Promise.all(SIDES.map((side) => clients[side].end().catch(() => {})));
  }
}

async function checkSide(
  place: Place,
  client: pg.Client,
  facts: SideFacts,
  options: PreflightOptions,
): Promise<Finding[]> {
  const { side } = facts;
  const endpoint = place.endpoints[side];
  const schema = schemaOf(place, side);
  const findings = await checkServer(client, facts, Object.values(place.names.slot), options.copyWorkers);
  findings.push(...(await checkDirect(client, endpoint, facts)));
  findings.push(
    ...(await checkRights(client, facts, await ownerOf(place, client, side, facts.login), schema)),
  );
  findings.push(...(await checkForeignSessions(client, facts)));
  findings.push(...(await checkActivity(client, facts, qualified(schema, SOURCE_TABLE))));
  const blocked = ['recovery', 'wal_level', 'slots', 'senders', 'replication', 'direct'];
  // Only the login itself can try.
  if (!facts.ofAnother && !findings.some((f) => blocked.includes(f.check)))
    findings.push(...(await checkDecoding(endpoint, facts)));
  return findings;
}

function schemaOf(place: Place, side: Side): string {
  return side === 'blue' ? place.schemas.source : place.schemas.org;
}
