import { columnsOf, KEY_COLUMN, SOURCE_COLUMNS, SOURCE_TABLE, type SourceColumn } from './columns.ts';
import { ident, literal, qualified } from './identifier.ts';
import { inverseFrom, type Relations } from './sql.ts';
import { ADMIN_ROLE_ID, inverseList, MEMBER_STATUS } from './target.ts';

/** Function of the view's triggers, in the view's schema. */
export const COMPAT_FUNCTION = 'orchestrate_user_settings';

/** Which organisation and settings row are a user's own: by `orchestrator.link` during a run, by name after it. */
export type CompatOwnership = 'link' | 'name';

const KEY = ident(KEY_COLUMN);

/**
 * Without the link table the own organisation is the one of the user's name in which the user is admin; where it was
 * renamed, the one with the user's number.
 */
const ownOrgByName = (r: Relations) => `
      LEFT JOIN LATERAL (
        SELECT m."org_id" AS org_id
        FROM ${r.orgUser} AS m
        JOIN ${r.org} AS o ON o."id" = m."org_id"
        WHERE m."user_id" = u."id" AND m."role_id" = ${ADMIN_ROLE_ID}
          AND (o."name" = 'user_' || u."id" || '_org' OR o."id" = u."id")
        ORDER BY o."name" = 'user_' || u."id" || '_org' DESC
        LIMIT 1) AS own ON true
      LEFT JOIN ${r.settings} AS s ON s."org_id" = own.org_id AND s."user_id" IS NULL`;

const fromOf = (r: Relations, ownership: CompatOwnership): string =>
  ownership === 'link' ? inverseFrom(r) : `${r.user} AS u ${ownOrgByName(r)}`;

/** Columns have no equality of their own everywhere (json), and −0 equals 0: text tells them apart. */
const differs = (c: SourceColumn) => `NEW.${ident(c.name)}::text IS DISTINCT FROM OLD.${ident(c.name)}::text`;

/** Only what the statement changed: the rest may have been changed by somebody else since it was read. */
const changed = (alias: string) => (c: SourceColumn) =>
  `${ident(c.as)} = CASE WHEN ${differs(c)} THEN NEW.${ident(c.name)} ELSE ${alias}.${ident(c.as)} END`;

/**
 * The updatable view `user_settings` over the org model, so that an unchanged old application runs against it
 * (DESIGN 3.6). It shows mapped rows and refuses a NULL key with 23502, an empty one with 23514, and one that another
 * user has with 23505. Statements are to be run as the tables' owner, in one transaction; repeating them is harmless.
 * @param schema of the view: that of the old table.
 */
export function createCompatView(r: Relations, schema: string, ownership: CompatOwnership): string[] {
  const view = qualified(schema, SOURCE_TABLE);
  const write = qualified(schema, COMPAT_FUNCTION);
  const user = columnsOf('user');
  const settings = columnsOf('settings');
  const list = (columns: readonly SourceColumn[], of: (c: SourceColumn) => string) =>
    columns.map(of).join(', ');
  const next = (relation: string) => `nextval(pg_get_serial_sequence(${literal(relation)}, 'id'))`;
  return [
    `CREATE OR REPLACE VIEW ${view} AS SELECT ${inverseList()} FROM ${fromOf(r, ownership)}`,
    ...SOURCE_COLUMNS.filter((c) => c.default !== undefined).map(
      (c) => `ALTER VIEW ${view} ALTER COLUMN ${ident(c.name)} SET DEFAULT ${c.default}`,
    ),
    `
CREATE OR REPLACE FUNCTION ${write}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body$
DECLARE
  k integer;
  u bigint;
  o bigint;
  s bigint;
  own_org integer;
  own_settings integer;
BEGIN
  IF TG_OP <> 'DELETE' THEN
    IF NEW.${KEY} IS NULL THEN
      RAISE not_null_violation USING MESSAGE = 'null value in column "${KEY_COLUMN}" of view "${SOURCE_TABLE}" violates not-null constraint',
        COLUMN = ${literal(KEY_COLUMN)}, TABLE = ${literal(SOURCE_TABLE)}, SCHEMA = ${literal(schema)};
    END IF;
    IF NEW.${KEY} = '' THEN
      RAISE check_violation USING MESSAGE = 'empty column "${KEY_COLUMN}" of view "${SOURCE_TABLE}"',
        COLUMN = ${literal(KEY_COLUMN)}, TABLE = ${literal(SOURCE_TABLE)}, SCHEMA = ${literal(schema)};
    END IF;
  END IF;

  IF TG_OP = 'INSERT' THEN
    k := NEW."id";
    IF k IS NULL THEN
      -- One number for user, organisation and settings, drawn from each of the three sequences: nobody else gets it.
      u := ${next(r.user)};
      o := ${next(r.org)};
      s := ${next(r.settings)};
      LOOP
        k := greatest(u, o, s);
        EXIT WHEN u = k AND o = k AND s = k;
        IF u < k THEN u := ${next(r.user)}; END IF;
        IF o < k THEN o := ${next(r.org)}; END IF;
        IF s < k THEN s := ${next(r.settings)}; END IF;
      END LOOP;
      NEW."id" := k;
    END IF;
    INSERT INTO ${r.user} ("id", ${list(user, (c) => ident(c.as))})
    VALUES (k, ${list(user, (c) => `NEW.${ident(c.name)}`)});
    INSERT INTO ${r.org} ("id", "name") VALUES (k, 'user_' || k || '_org');
    INSERT INTO ${r.orgUser} ("org_id", "user_id", "role_id", "status")
    VALUES (k, k, ${ADMIN_ROLE_ID}, ${literal(MEMBER_STATUS)});
    INSERT INTO ${r.settings} ("id", "org_id", ${list(settings, (c) => ident(c.as))})
    VALUES (k, k, ${list(settings, (c) => `NEW.${ident(c.name)}`)});
    RETURN NEW;
  END IF;

  -- The row lock that an UPDATE or DELETE of the old table would take; gone meanwhile is not found.
  PERFORM 1 FROM ${r.user} AS u WHERE u."id" = OLD."id" FOR NO KEY UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT s."org_id", s."id" INTO own_org, own_settings
  FROM ${fromOf(r, ownership)}
  WHERE u."id" = OLD."id";

  IF TG_OP = 'UPDATE' THEN
    IF NEW."id" IS DISTINCT FROM OLD."id" THEN
      RAISE feature_not_supported USING MESSAGE = 'column "id" of view "${SOURCE_TABLE}" cannot be changed';
    END IF;
    IF ${user.map(differs).join('\n       OR ')} THEN
      UPDATE ${r.user} AS t SET ${list(user, changed('t'))} WHERE t."id" = OLD."id";
    END IF;
    IF ${settings.map(differs).join('\n       OR ')} THEN
      UPDATE ${r.settings} AS t SET ${list(settings, changed('t'))} WHERE t."id" = own_settings;
      IF NOT FOUND THEN
        RAISE object_not_in_prerequisite_state
          USING MESSAGE = 'the user has no settings of their own that view "${SOURCE_TABLE}" could change';
      END IF;
    END IF;
    RETURN NEW;
  END IF;

  DELETE FROM ${r.settings} AS s WHERE s."id" = own_settings;
  DELETE FROM ${r.orgUser} AS m WHERE m."user_id" = OLD."id" AND m."org_id" = own_org;
  DELETE FROM ${r.user} AS u WHERE u."id" = OLD."id";
  DELETE FROM ${r.org} AS o WHERE o."id" = own_org;
  RETURN OLD;
END $body$`,
    `REVOKE ALL ON FUNCTION ${write}() FROM PUBLIC`,
    `
CREATE OR REPLACE TRIGGER ${ident(COMPAT_FUNCTION)}
INSTEAD OF INSERT OR UPDATE OR DELETE ON ${view}
FOR EACH ROW EXECUTE FUNCTION ${write}()`,
  ];
}

/** Takes the view and its function away; what is not there is no error. A table or view of that name that is not ours is left alone. */
export function dropCompatView(schema: string): string {
  const view = qualified(schema, SOURCE_TABLE);
  return `
DO $body$ BEGIN
  IF EXISTS (SELECT FROM pg_catalog.pg_class AS c
             JOIN pg_catalog.pg_trigger AS t ON t.tgrelid = c.oid AND t.tgname = ${literal(COMPAT_FUNCTION)}
             WHERE c.oid = pg_catalog.to_regclass(${literal(view)}) AND c.relkind = 'v') THEN
    DROP VIEW ${view};
    DROP FUNCTION IF EXISTS ${qualified(schema, COMPAT_FUNCTION)}();
  END IF;
END $body$`;
}
