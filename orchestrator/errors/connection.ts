import { failure, type OrchestrateError } from './failure.ts';
import { machineFailure } from './machine.ts';
import { sqlState } from './sqlstate.ts';

/** What of the other side's certificate, or of ours, was refused; by the code of the TLS library. */
const TLS_FINDINGS: readonly (readonly [RegExp, string, string, string])[] = [
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    'a certificate for the host in the URL',
    'a certificate for another host',
    'use a name that the certificate holds, or renew it with this host among its names',
  ],
  [
    /^CERT_(HAS_EXPIRED|NOT_YET_VALID)$/,
    'a certificate that is valid today',
    'one whose time is over or has not come',
    'renew the certificate of the server',
  ],
  [
    /^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_|ERROR_IN_|INVALID_CA|HOSTNAME_MISMATCH)/,
    'a certificate signed by an authority that is trusted here',
    'one of another authority',
    "name the authority's certificate as sslrootcert in the URL",
  ],
  [
    /^(ERR_SSL_|ERR_TLS_|EPROTO$)/,
    'a TLS handshake that both sides agree on',
    'a handshake that broke',
    'check sslcert and sslkey, and the TLS versions of the server',
  ],
];

/** The driver has no code for a server that answers the request for TLS with no. */
const WITHOUT_TLS = /server does not support SSL|error establishing an SSL connection/;

/** Nor for a server that wants a password when there is none to give. */
const WITHOUT_PASSWORD = /SASL: .*password must be/;

/**
 * Turns a failed connection attempt into CANNOT_CONNECT, AUTHENTICATION or TLS_REFUSED. `where` is
 * `host:port/database`. The server's own text is not repeated beyond its SQLSTATE: a driver message can quote the
 * connection string.
 */
export function connectionFailure(side: 'blue' | 'green', where: string, cause: unknown): OrchestrateError {
  return (
    refusal(side, where, cause) ??
    machineFailure(cause) ??
    failure('CANNOT_CONNECT', {
      message: `${side} at ${where} cannot be reached`,
      expected: 'a PostgreSQL server that answers',
      found: sqlState(cause) ?? (cause instanceof Error ? cause.message.slice(0, 80) : 'no answer'),
      cause,
    })
  );
}

/** @returns AUTHENTICATION or TLS_REFUSED when that is why a connection was not made; undefined for anything else. */
export function refusal(side: 'blue' | 'green', where: string, cause: unknown): OrchestrateError | undefined {
  const state = sqlState(cause);
  const message = cause instanceof Error ? cause.message : '';
  if (WITHOUT_TLS.test(message))
    return failure('TLS_REFUSED', {
      message: `${side} at ${where} does not speak TLS`,
      expected: 'a server with TLS: sslmode is not disable',
      found: 'a server that answers without it; nothing was sent',
      fix: 'switch ssl on in postgresql.conf; only for a network that nobody else is on: sslmode=disable in the URL',
      cause,
    });
  const tls = TLS_FINDINGS.find(([code]) => state !== undefined && code.test(state));
  if (tls !== undefined)
    return failure('TLS_REFUSED', {
      message: `${side} at ${where}: the connection is not secure`,
      expected: tls[1],
      found: `${tls[2]} (${state})`,
      fix: tls[3],
      cause,
    });
  // 28: invalid authorization, 3D000: no such database, 42501: no CONNECT privilege.
  const refused = state !== undefined && (state.startsWith('28') || state === '3D000' || state === '42501');
  if (!refused && !WITHOUT_PASSWORD.test(message)) return undefined;
  return failure('AUTHENTICATION', {
    message: `${side} at ${where} refused the login`,
    expected: 'a login that may connect',
    found: refused ? state : 'no password, and the server wants one',
    cause,
  });
}
