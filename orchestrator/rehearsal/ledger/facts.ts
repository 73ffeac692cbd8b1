import type { SourceColumn } from '../source-columns.ts';
import type { LedgerEvent, SentEvent } from './event.ts';

/** What one (user, column) may hold: the last acknowledged value, or one whose outcome is unknown. */
export interface Fact {
  readonly acknowledged: string | undefined;
  readonly maybe: ReadonlySet<string>;
}

interface MutableFact {
  acknowledged: string | undefined;
  maybe: Set<string>;
}

/** What the clients were promised about one user. */
export interface UserFacts {
  /** `present` once something about the user was acknowledged; `either` when a delete's outcome is unknown. */
  presence: 'present' | 'absent' | 'either';
  readonly columns: Map<SourceColumn, MutableFact>;
}

/** What was promised by statements over the whole table. */
export interface EveryUserFact extends MutableFact {
  upTo: number;
}

/** Everything the ledger says must be on the serving side. */
export interface Facts {
  readonly users: Map<number, UserFacts>;
  readonly everyUser: Map<SourceColumn, EveryUserFact>;
  readonly acknowledged: number;
  readonly unknown: number;
  /** Operations that were sent and have no answer on file: the client died, the outcome is unknown. */
  readonly open: number;
}

/**
 * Folds a ledger into what must be found on the serving side.
 *
 * Each user belongs to one client, which writes one statement after the other, and a client never writes to a user
 * again after an unknown outcome: so the order of the ledger is the order of the server, and at the end a column
 * holds its last acknowledged value or one of the unknown ones sent after it.
 */
export async function foldFacts(events: AsyncIterable<LedgerEvent> | Iterable<LedgerEvent>): Promise<Facts> {
  const users = new Map<number, UserFacts>();
  const everyUser = new Map<SourceColumn, EveryUserFact>();
  const inFlight = new Map<string, SentEvent>();
  let acknowledged = 0;
  let unknown = 0;

  const factsOf = (user: number): UserFacts => {
    let facts = users.get(user);
    if (facts === undefined) {
      facts = { presence: 'present', columns: new Map() };
      users.set(user, facts);
    }
    return facts;
  };

  const settle = (sent: SentEvent, certain: boolean, made: number | undefined): void => {
    const { subject } = sent;
    if ('everyUserUpTo' in subject) {
      for (const [column, digest] of Object.entries(sent.writes) as [SourceColumn, string][]) {
        const fact = everyUser.get(column) ?? { acknowledged: undefined, maybe: new Set<string>(), upTo: 0 };
        everyUser.set(column, fact);
        if (certain) Object.assign(fact, { acknowledged: digest, maybe: new Set<string>() });
        else fact.maybe.add(digest);
        fact.upTo = subject.everyUserUpTo;
      }
      return;
    }
    const user = 'user' in subject ? subject.user : made;
    // A sign-up of unknown outcome made nobody, or somebody whom nobody was promised.
    if (user === undefined) return;
    const facts = factsOf(user);
    if (sent.deletes) {
      facts.presence = certain ? 'absent' : 'either';
      return;
    }
    for (const [column, digest] of Object.entries(sent.writes) as [SourceColumn, string][]) {
      const fact = facts.columns.get(column) ?? { acknowledged: undefined, maybe: new Set<string>() };
      facts.columns.set(column, fact);
      if (certain) Object.assign(fact, { acknowledged: digest, maybe: new Set<string>() });
      else fact.maybe.add(digest);
    }
  };

  for await (const event of events) {
    switch (event.event) {
      case 'sent':
        inFlight.set(event.op, event);
        break;
      case 'acknowledged':
      case 'unknown': {
        const sent = inFlight.get(event.op);
        if (sent === undefined) throw new Error(`ledger: ${event.op} was answered and never sent`);
        inFlight.delete(event.op);
        const certain = event.event === 'acknowledged';
        settle(sent, certain, certain ? event.user : undefined);
        if (certain) acknowledged += 1;
        else unknown += 1;
        break;
      }
      case 'failed':
        inFlight.delete(event.op);
        break;
      case 'mark':
        break;
      default:
        throw new Error(`ledger: no event is called ${String((event satisfies never as LedgerEvent).event)}`);
    }
  }
  for (const sent of inFlight.values()) settle(sent, false, undefined);
  return { users, everyUser, acknowledged, unknown, open: inFlight.size };
}
