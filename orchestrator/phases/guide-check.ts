import type pg from 'pg';
import { qualified } from '../../src/mapping/identifier.ts';
import type { ErrorDocument } from '../errors/failure.ts';
import { failure } from '../errors/failure.ts';
import { clientConfig, connect } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { relationsOf, type Schemas } from '../state/names.ts';
import { type GuideAccount, type GuideCheck, type GuideSample, guide } from '../verify/guide.ts';
import { checkLogins } from '../verify/guide-logins.ts';

/** What `verify --guide` ends with. */
export interface GuideDocument extends GuideAccount {
  readonly clean: boolean;
  readonly in_place: boolean;
  readonly checks: readonly GuideCheck[];
  readonly sample: readonly GuideSample[];
  readonly duration_seconds: number;
  readonly error?: ErrorDocument;
}

const STANDING = `
  SELECT to_regclass($1) IS NOT NULL AS org_model,
         to_regclass('orchestrator.parked') IS NOT NULL AS parked,
         to_regclass('orchestrator.side') IS NOT NULL AS run`;
const SERVED = 'SELECT coalesce(max(generation), 0) > 0 AS served FROM orchestrator.side';

/**
 * The queries of the migration guide, and that everybody can log in. They read what is committed at that moment; in
 * place all counts come from one snapshot.
 * @param green null: both schemas lie in blue's database.
 * @throws OrchestrateError CANNOT_CONNECT, AUTHENTICATION; WRONG_PHASE where there is no org model.
 */
export async function checkGuide(
  blue: Endpoint,
  green: Endpoint | null,
  schemas: Schemas,
  note: (line: string) => void,
): Promise<GuideDocument> {
  const startedAt = performance.now();
  const relations = relationsOf(schemas);
  const purpose = { purpose: 'verify' };
  const source = await connect(blue, purpose);
  let target: pg.Client | undefined;
  try {
    target = green === null ? source : await connect(green, purpose);
    const { rows } = await target.query<{ org_model: boolean; parked: boolean; run: boolean }>(STANDING, [
      qualified(schemas.org, 'org_user'),
    ]);
    const standing = rows[0];
    if (standing?.org_model !== true)
      throw failure('WRONG_PHASE', {
        message: 'there is no organisational model to verify',
        expected: `tables role, org, user, org_user and settings in schema ${schemas.org}`,
        found: 'none',
        fix: green === null ? 'orchestrate migrate up --side blue' : 'orchestrate run',
      });
    const served = standing.run && (await target.query<{ served: boolean }>(SERVED)).rows[0]?.served === true;
    // Nothing is parked where nothing was copied: reasons are counted from user_settings then.
    const options = { inPlace: green === null || !standing.parked, served };
    await source.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { checks, sample, account } = await guide(source, target, relations, options);
    const logins = await checkLogins(source, target, clientConfig(green ?? blue, purpose), relations, {
      orgSchema: schemas.org,
      served,
      note,
    });
    await source.query('COMMIT');
    const all = [...checks, ...logins];
    const failed = all.filter((c) => !c.ok);
    const first = failed[0];
    return {
      clean: failed.length === 0,
      in_place: green === null,
      ...account,
      checks: all,
      sample,
      duration_seconds: (performance.now() - startedAt) / 1_000,
      ...(first === undefined
        ? {}
        : {
            error: failure('DIFFERENCES', {
              message: `the guide's queries disagree: ${failed.map((c) => c.check).join('; ')}`,
              expected: first.expected,
              found: first.found,
              fix:
                green === null
                  ? 'orchestrate migrate down --side blue --to 056, then orchestrate migrate up --side blue'
                  : 'orchestrate verify --repair',
            }).toDocument(),
          }),
    };
  } finally {
    await Promise.all(
      [source, ...(target === undefined || target === source ? [] : [target])].map((c) =>
        c.end().catch(() => {}),
      ),
    );
  }
}
