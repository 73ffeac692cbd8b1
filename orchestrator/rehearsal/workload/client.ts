import { setTimeout as delay } from 'node:timers/promises';
import { otherSide, type Side } from '../../pg/side.ts';
import { uuid } from '../generator/people.ts';
import { createRandom, type Random } from '../generator/random.ts';
import type { Ledger } from '../ledger.ts';
import { Attempt, type Outcome } from './attempt.ts';
import { Connections, type Doors } from './door.ts';
import { onNewSchema } from './new-schema.ts';
import { onOldSchema } from './old-schema.ts';
import {
  EVERYONE_COLUMN,
  type Marker,
  type Operation,
  pickOrdinary,
  signUpValues,
  subjectOf,
  updateOf,
  writesOf,
} from './operation.ts';
import type { Flock, Person } from './population.ts';

/** What all clients of a workload share. */
export interface ClientContext {
  readonly run: string;
  readonly ledger: Ledger;
  readonly doors: Doors;
  readonly schemas: Readonly<Record<Side, 'old' | 'new'>>;
  /** Share of deletes, key changes and what only the new schema can say. */
  readonly exotic: number;
  /** Share of writes that knock first at the side that does not serve. */
  readonly strays: number;
  /** Share of writes to users without a key of their own, which only the old table has. */
  readonly odd: number;
  /** Pause between two tries of a refused write. */
  readonly knockMs: number;
  readonly seed: string;
  /** True once refused writes are to be given up. */
  givingUp(): boolean;
}

export interface Tally {
  acknowledged: number;
  refused: number;
  abandoned: number;
  unknown: number;
  signUps: number;
  deletes: number;
}

/** Refusals that end when the serving side does: everything else says that the statement itself is wrong. */
const KNOCK_AGAIN = new Set(['25006', '42P01', '42703', '42501', '57014', '55P03', '40001', '40P01']);

function worthKnocking({ code }: Outcome): boolean {
  if (code === 'nothing-written') return false;
  const fromServer = /^[0-9A-Z]{5}$/.test(code);
  return !fromServer || KNOCK_AGAIN.has(code) || /^(08|53|57P|58)/.test(code);
}

/** One client of the application: it owns its users, and writes one statement after the other. */
export class WorkloadClient {
  readonly #context: ClientContext;
  readonly #number: number;
  readonly #flock: Flock;
  readonly #random: Random;
  readonly #connections: Connections;
  readonly tally: Tally = { acknowledged: 0, refused: 0, abandoned: 0, unknown: 0, signUps: 0, deletes: 0 };
  #version = 0;
  #operations = 0;
  #next: Person | undefined;

  constructor(context: ClientContext, number: number, flock: Flock) {
    this.#context = context;
    this.#number = number;
    this.#flock = flock;
    this.#random = createRandom(`${context.seed}/${number}`);
    this.#connections = new Connections(context.doors.databases, `application client ${number}`);
  }

  /** Writes once: chooses, sends, and sends again until the write is acknowledged, unknown or hopeless. */
  async write(): Promise<void> {
    const side = this.#context.doors.current();
    const op = this.#choose(this.#context.schemas[side]);
    if (op !== undefined) await this.#perform(op);
  }

  /** One statement over everybody up to `upTo`. */
  async writeEveryone(upTo: number): Promise<void> {
    const { run, client, version } = this.#marker();
    await this.#perform({
      kind: 'everyone',
      upTo,
      values: { [EVERYONE_COLUMN]: `image:${run}-c${client}-v${version}` },
    });
  }

  async close(): Promise<void> {
    await this.#connections.close();
  }

  #marker(): Marker {
    this.#version += 1;
    return { run: this.#context.run, client: this.#number, version: this.#version };
  }

  #choose(schema: 'old' | 'new'): Operation | undefined {
    const random = this.#random;
    const followUp = this.#next;
    this.#next = undefined;
    if (followUp !== undefined) return updateOf('save', followUp, random, this.#marker());
    if (this.#flock.regular.size > 1 && random.chance(this.#context.exotic))
      return this.#chooseExotic(schema);
    const kind = pickOrdinary(random);
    if (kind === 'sign-up') return { kind, values: signUpValues(random, this.#marker()) };
    const odd = schema === 'old' && random.chance(this.#context.odd);
    const person = (odd ? this.#flock.odd.pick(random) : undefined) ?? this.#flock.regular.pick(random);
    if (person === undefined) return { kind: 'sign-up', values: signUpValues(random, this.#marker()) };
    return updateOf(kind, person, random, this.#marker());
  }

  #chooseExotic(schema: 'old' | 'new'): Operation | undefined {
    const random = this.#random;
    const person = this.#flock.regular.pick(random);
    const other = this.#flock.regular.pick(random);
    if (person === undefined || other === undefined) return undefined;
    const at = random.next();
    if (at < 0.25) return { kind: 'delete', person };
    if (at < 0.5 || schema === 'old') {
      const key =
        schema === 'old' ? random.pick([null, '', other.key, uuid(random), uuid(random)]) : uuid(random);
      return { kind: 'key-change', person, values: { keycloak_user_id: key } };
    }
    const { run, client, version } = this.#marker();
    if (at < 0.65) return { kind: 'rename-org', person, name: `Org ${run}-c${client}-v${version} ✓` };
    if (at < 0.85) return { kind: 'second-member', person, member: other.id };
    return { kind: 'own-settings', person, values: { language: 'ja' } };
  }

  async #perform(op: Operation): Promise<void> {
    const { doors, strays, knockMs } = this.#context;
    this.#operations += 1;
    const id = `${this.#context.run}.${this.#number}.${this.#operations}`;
    let side = doors.current();
    if (this.#random.chance(strays)) side = otherSide(side);
    for (let attempt = 1; ; attempt += 1) {
      const outcome = await this.#attempt(op, id, attempt, side);
      if (outcome === undefined) {
        doors.accepted(side);
        return;
      }
      if (outcome.verdict === 'unknown') {
        this.tally.unknown += 1;
        this.#letGo(op);
        return;
      }
      if (!worthKnocking(outcome) || this.#context.givingUp()) {
        this.tally.abandoned += 1;
        return;
      }
      this.tally.refused += 1;
      side = doors.after(side);
      await delay(knockMs);
    }
  }

  /** @returns undefined when the write was acknowledged. */
  async #attempt(op: Operation, id: string, attempt: number, side: Side): Promise<Outcome | undefined> {
    const { ledger, schemas } = this.#context;
    let client: Awaited<ReturnType<Connections['to']>>;
    try {
      client = await this.#connections.to(side);
    } catch (error) {
      return { verdict: 'failed', code: (error as { code?: string }).code ?? 'connection' };
    }
    const kind = op.kind;
    // On file before it leaves: whatever happens to us now, the ledger knows that it may have happened.
    ledger.sent({
      op: id,
      attempt,
      side,
      kind,
      subject: subjectOf(op),
      writes: writesOf(op),
      deletes: kind === 'delete',
    });
    const trying = new Attempt(client);
    try {
      const user = await (schemas[side] === 'old' ? onOldSchema : onNewSchema)(trying, op);
      ledger.acknowledged(id, side, user);
      this.#done(op, user);
      return undefined;
    } catch (error) {
      const outcome = trying.judge(error);
      ledger[outcome.verdict](id, side, outcome.code);
      const severity = (error as { severity?: string }).severity;
      const alive = severity === 'ERROR' || outcome.code === 'nothing-written';
      if (!alive || !(await trying.tidy())) await this.#connections.drop(side);
      return outcome;
    }
  }

  #done(op: Operation, user: number | undefined): void {
    this.tally.acknowledged += 1;
    if (op.kind === 'sign-up' && user !== undefined) {
      this.tally.signUps += 1;
      const person = { id: user, key: op.values.keycloak_user_id };
      this.#flock.regular.add(person);
      this.#next = person;
    } else if (op.kind === 'delete') {
      this.tally.deletes += 1;
      this.#letGo(op);
    } else if (op.kind === 'key-change') {
      this.#letGo(op);
      const key = op.values.keycloak_user_id ?? null;
      // Whoever shares a key or has none may be parked, which only the old schema can write to.
      const plain =
        key !== null && key !== '' && key !== op.person.key && !this.#sharesKey(key, op.person.id);
      (plain ? this.#flock.regular : this.#flock.odd).add({ id: op.person.id, key });
    }
  }

  #sharesKey(key: string, id: number): boolean {
    return this.#flock.regular.has((person) => person.key === key && person.id !== id);
  }

  /** Nobody writes to this user any more: after an unknown outcome the statement may still land. */
  #letGo(op: Operation): void {
    if (!('person' in op)) return;
    this.#flock.regular.remove(op.person.id);
    this.#flock.odd.remove(op.person.id);
  }
}
