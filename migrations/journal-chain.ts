/**
 * The journal's chain: one link an entry, in the order of commits, each a SHA-256 over the one before and the text of
 * its entry. A change that somebody makes who may switch triggers off, the tables' owner, does not fit the link.
 *
 * A link is made when its transaction commits (a deferred constraint trigger), under a lock that is held for that
 * moment only: a copy or a large batch that writes an entry early makes nobody wait. The lock serialises commits, so
 * positions have no gaps, and each link sees the one before.
 */

/**
 * What a link covers, as SQL over an entry `j` and the hash `previous` of the link before: stored values only, printed
 * in ways that no setting of a session changes. The verifier carries its own copy of this text, not the server's.
 */
export const LINK_DIGEST = `
  sha256(previous || convert_to(
    jsonb_build_array(j.id::text, extract(epoch FROM j.at)::text, j.migration, j.epoch::text, j.generation::text,
                      j.event, j.detail, j.by)::text, 'UTF8'))`;

/** What stands before the first link. */
export const FIRST_LINK = `'\\x00'::bytea`;

export const JOURNAL_CHAIN = `
  CREATE TABLE orchestrator.journal_link (
    position bigint PRIMARY KEY,
    entry    bigint NOT NULL UNIQUE,
    hash     bytea NOT NULL
  );

  -- As its owner: whoever may write an entry may not write links of his own.
  CREATE FUNCTION orchestrator.link_entry() RETURNS trigger
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  DECLARE
    last bigint;
    previous bytea;
  BEGIN
    -- A row that nobody else may lock; an advisory lock is anybody's, who could make the runner wait by it.
    PERFORM FROM orchestrator.migration FOR UPDATE;
    -- A statement of its own: it sees what committed while the lock was waited for.
    SELECT l.position, l.hash INTO last, previous
    FROM orchestrator.journal_link AS l ORDER BY l.position DESC LIMIT 1;
    previous := coalesce(previous, ${FIRST_LINK});
    INSERT INTO orchestrator.journal_link (position, entry, hash)
    SELECT coalesce(last, 0) + 1, j.id, ${LINK_DIGEST}
    FROM orchestrator.journal AS j WHERE j.id = NEW.id;
    RETURN NULL;
  END $$;

  CREATE CONSTRAINT TRIGGER link_entry AFTER INSERT ON orchestrator.journal
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION orchestrator.link_entry();
  ALTER TABLE orchestrator.journal ENABLE ALWAYS TRIGGER link_entry;

  -- What was written stays as it was written.
  CREATE FUNCTION orchestrator.refuse_change() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
  BEGIN
    RAISE EXCEPTION USING ERRCODE = '25006',
      MESSAGE = format('%I.%I only grows: %s is refused', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_OP);
  END $$;

  CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestrator.journal
    FOR EACH STATEMENT EXECUTE FUNCTION orchestrator.refuse_change();
  ALTER TABLE orchestrator.journal ENABLE ALWAYS TRIGGER refuse_change;
  CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON orchestrator.journal_link
    FOR EACH STATEMENT EXECUTE FUNCTION orchestrator.refuse_change();
  ALTER TABLE orchestrator.journal_link ENABLE ALWAYS TRIGGER refuse_change;
`;
