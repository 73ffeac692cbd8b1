/** What one would write without us: a subscription, and on the subscriber a trigger that makes the org rows. */
import { SOURCE_COLUMN_NAMES } from '../../orchestrator/rehearsal/source-columns.ts';

const ELSEWHERE = ['id', 'keycloak_user_id', 'enable_sound_notifications', 'user_version', 'accepted_tos'];
/** What goes to `settings` under its own name. */
const FACTS = SOURCE_COLUMN_NAMES.filter((name) => !ELSEWHERE.includes(name));

/** The org model as revision 056 makes it, as far as a trigger needs it. */
export const ORG_TABLES = `
  CREATE TABLE role (id integer PRIMARY KEY, name varchar NOT NULL UNIQUE, rank integer NOT NULL);
  INSERT INTO role VALUES (1, 'admin', 1), (2, 'user', 1000);
  CREATE TABLE org (id integer PRIMARY KEY, name varchar NOT NULL UNIQUE, contact_name varchar, contact_email varchar,
                    conversation_expiration integer);
  CREATE TABLE "user" (id integer PRIMARY KEY, keycloak_user_id varchar NOT NULL UNIQUE, role_id integer REFERENCES role,
                       accepted_tos timestamp, enable_sound_notifications boolean);
  CREATE INDEX ON "user" (role_id);
  CREATE TABLE org_user (org_id integer REFERENCES org, user_id integer REFERENCES "user",
                         role_id integer NOT NULL REFERENCES role, status varchar, PRIMARY KEY (org_id, user_id));
  CREATE INDEX ON org_user (user_id);
  CREATE INDEX ON org_user (role_id);
  CREATE TABLE settings AS SELECT id, id AS org_id, id AS user_id, user_version AS settings_version, ${FACTS.join(', ')}
    FROM user_settings WITH NO DATA;
  ALTER TABLE settings ADD PRIMARY KEY (id), ADD FOREIGN KEY (org_id) REFERENCES org,
    ADD FOREIGN KEY (user_id) REFERENCES "user", ADD CHECK (org_id IS NOT NULL OR user_id IS NOT NULL);
  CREATE UNIQUE INDEX ON settings (org_id) WHERE user_id IS NULL;
  CREATE UNIQUE INDEX ON settings (org_id, user_id) WHERE user_id IS NOT NULL`;

/** The worker of a subscription has an empty search_path. */
const UPSERT = `
      INSERT INTO public.org (id, name) VALUES (new.id, 'user_' || new.id || '_org')
      ON CONFLICT (id) DO UPDATE SET name = excluded.name;
      INSERT INTO public."user" (id, keycloak_user_id, accepted_tos, enable_sound_notifications)
      VALUES (new.id, new.keycloak_user_id, new.accepted_tos, new.enable_sound_notifications)
      ON CONFLICT (id) DO UPDATE
      SET keycloak_user_id = excluded.keycloak_user_id, accepted_tos = excluded.accepted_tos,
          enable_sound_notifications = excluded.enable_sound_notifications;
      INSERT INTO public.org_user (org_id, user_id, role_id, status) VALUES (new.id, new.id, 1, 'active')
      ON CONFLICT (org_id, user_id) DO UPDATE SET role_id = excluded.role_id, status = excluded.status;
      INSERT INTO public.settings (id, org_id, settings_version, ${FACTS.join(', ')})
      VALUES (new.id, new.id, new.user_version, ${FACTS.map((f) => `new.${f}`).join(', ')})
      ON CONFLICT (id) DO UPDATE
      SET settings_version = excluded.settings_version, ${FACTS.map((f) => `${f} = excluded.${f}`).join(', ')};`;

/** Fills the org tables from what the subscription copied, and keeps them so. */
export const FAN_OUT = `
  INSERT INTO org (id, name) SELECT id, 'user_' || id || '_org' FROM user_settings;
  INSERT INTO "user" (id, keycloak_user_id, accepted_tos, enable_sound_notifications)
    SELECT id, keycloak_user_id, accepted_tos, enable_sound_notifications FROM user_settings;
  INSERT INTO org_user SELECT id, id, 1, 'active' FROM user_settings;
  INSERT INTO settings (id, org_id, settings_version, ${FACTS.join(', ')})
    SELECT id, id, user_version, ${FACTS.join(', ')} FROM user_settings;
  CREATE FUNCTION fan_out() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF tg_op = 'DELETE' THEN
        DELETE FROM public.settings WHERE id = old.id;
        DELETE FROM public.org_user WHERE org_id = old.id;
        DELETE FROM public."user" WHERE id = old.id;
        DELETE FROM public.org WHERE id = old.id;
        RETURN NULL;
      END IF;${UPSERT}
      RETURN NULL;
    END $$;
  CREATE TRIGGER fan_out AFTER INSERT OR UPDATE OR DELETE ON user_settings FOR EACH ROW EXECUTE FUNCTION fan_out();
  ALTER TABLE user_settings ENABLE ALWAYS TRIGGER fan_out`;
