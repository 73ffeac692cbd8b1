/**
 * Rows for measurements, made by the server: every row of about 470 bytes, all keys distinct, ids 1…n without gaps.
 * $1 first id, $2 last id, $3 seed as text. md5 output stands for ciphertext: it hardly compresses.
 */
export const INSERT_BENCH_ROWS = `
  INSERT INTO user_settings (
    id, keycloak_user_id, language, agent, llm_model, llm_api_key, llm_base_url,
    remote_runtime_resource_factor, confirmation_mode, user_consents_to_analytics, billing_margin,
    enable_sound_notifications, user_version, accepted_tos, mcp_config, security_analyzer
  )
  SELECT
    n,
    CAST(md5($3 || ':k:' || n) AS uuid)::text,
    CASE WHEN n % 8 = 0 THEN NULL WHEN n % 11 = 0 THEN 'zh-CN' ELSE 'en' END,
    'CodeActAgent',
    'litellm_proxy/prod/claude-sonnet-4-20250514',
    md5($3 || ':a:' || n) || md5($3 || ':b:' || n) || md5($3 || ':c:' || n)
      || md5($3 || ':d:' || n) || md5($3 || ':e:' || n) || md5($3 || ':f:' || n) || md5($3 || ':g:' || n),
    'https://llm-proxy.app.example.dev/a',
    CASE n % 10 WHEN 0 THEN 2 WHEN 1 THEN 4 ELSE 1 END,
    n % 5 = 0,
    CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN true ELSE false END,
    CASE WHEN n % 7 = 0 THEN 1.5 ELSE 1.0 END,
    n % 2 = 0,
    CASE WHEN n % 5 = 0 THEN 0 ELSE 4 END,
    timestamp '2025-01-01' + n * interval '1.000001 s',
    CASE WHEN n % 4 <> 0 THEN json '{"sse_servers": [], "stdio_servers": [], "shttp_servers": []}' END,
    CASE WHEN n % 4 = 0 THEN 'llm' END
  FROM generate_series($1::integer, $2::integer) AS n`;
