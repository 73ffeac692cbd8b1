/** Single transactions from which as many changes follow as a stream ever has to take at once. */
export interface Large {
  readonly transaction: string;
  readonly rows: number;
  readonly seconds: number;
  readonly peakMib: number;
}

/** What is written in one transaction, from which so many rows follow. */
export const LARGE: Readonly<
  Record<string, (size: number) => { readonly sql: string; readonly rows: number }>
> = {
  'rows inserted': (size) => ({
    rows: size,
    sql: `
      INSERT INTO user_settings (id, keycloak_user_id, language, llm_api_key)
      SELECT n, 'large' || n, 'en', repeat(md5(n::text), 5) FROM generate_series(10000001, ${10_000_000 + size}) n`,
  }),
  'rows of the whole table updated': (size) => ({
    rows: size,
    sql: 'UPDATE user_settings SET user_version = user_version + 1',
  }),
  'subtransactions, a tenth of them undone': (size) => ({
    rows: Math.round(size / 100),
    sql: `
      DO $$
      BEGIN
        FOR i IN 1..${Math.round(size / 100)} LOOP
          BEGIN
            UPDATE user_settings SET language = 'sub' || i WHERE id = 2 + i % 1000;
            IF i % 10 = 0 THEN RAISE EXCEPTION 'undone'; END IF;
          EXCEPTION WHEN raise_exception THEN NULL;
          END;
        END LOOP;
      END $$`,
  }),
};
