import { setTimeout as delay } from 'node:timers/promises';
import type pg from 'pg';
import { connect } from '../pg/connect.ts';
import type { Endpoint } from '../pg/endpoint.ts';
import { CHANNEL, type ClaimedRequest, claimRequest } from './requests.ts';

const LOOK_EVERY_MS = 1_000;

/**
 * Takes requests from the table as they come, woken by NOTIFY. It only claims; what a request means in the present
 * phase is the runner's to say.
 */
export class Inbox {
  private readonly waiting: ClaimedRequest[] = [];
  private readonly stopped = new AbortController();
  private wake: () => void = () => {};
  private readonly work: Promise<void>;
  private readonly endpoint: Endpoint;
  private readonly migration: string;
  private readonly lease: { readonly first: bigint; now(): bigint };
  private readonly arrived: (request: ClaimedRequest) => void;

  constructor(
    endpoint: Endpoint,
    migration: string,
    lease: { readonly first: bigint; now(): bigint },
    arrived: (request: ClaimedRequest) => void,
  ) {
    this.endpoint = endpoint;
    this.migration = migration;
    this.lease = lease;
    this.arrived = arrived;
    this.work = this.listen();
  }

  /** @returns the oldest request not yet taken, if there is one. */
  next(): ClaimedRequest | undefined {
    return this.waiting.shift();
  }

  get size(): number {
    return this.waiting.length;
  }

  /** Puts a request in by hand: that of the command which this runner lives inside. */
  put(request: ClaimedRequest): void {
    this.waiting.push(request);
    this.arrived(request);
  }

  async close(): Promise<void> {
    this.stopped.abort();
    this.wake();
    await this.work;
  }

  private async listen(): Promise<void> {
    while (!this.stopped.signal.aborted) {
      let client: pg.Client | undefined;
      try {
        client = await connect(this.endpoint, { purpose: 'inbox' });
        client.on('notification', () => this.wake());
        await client.query(`LISTEN ${CHANNEL}`);
        await this.take(client);
      } catch {
        // Losing this session alone costs nothing: the lease says whether we may go on.
        await delay(500, undefined, { signal: this.stopped.signal }).catch(() => {});
      } finally {
        await client?.end().catch(() => {});
      }
    }
  }

  private async take(client: pg.Client): Promise<void> {
    while (!this.stopped.signal.aborted) {
      for (;;) {
        const request = await claimRequest(client, this.migration, this.lease.first, this.lease.now());
        if (!request) break;
        this.put(request);
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, LOOK_EVERY_MS);
        this.wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
