import { failure } from '../errors/failure.ts';
import type { Side } from '../pg/side.ts';
import type { TrafficDriver, TrafficTask } from './driver.ts';
import { type ServiceAddress, type ServiceApi, serviceApi } from './kubernetes/service-api.ts';

/** Labels of a Service's selector. */
export type Selector = Readonly<Record<string, string>>;

export interface KubernetesOptions {
  /** The Services that clients reach their database by. */
  readonly services: readonly ServiceAddress[];
  readonly selectors: Readonly<Record<Side, Selector>>;
  /** A kubeconfig; null: KUBECONFIG, the home directory's, or the pod's own service account. */
  readonly config: string | null;
}

/** Repeats after a conflict: somebody else changed the Service between our read and our patch. */
const TRIES = 5;

const say = (selector: Selector): string =>
  Object.entries(selector)
    .map(([key, value]) => `${key}=${value}`)
    .join(',') || 'no selector';
const at = ({ namespace, name }: ServiceAddress): string => `${namespace}/${name}`;

/** Whether a selector chooses that side: every label of the side's is in it. Others are the operator's own. */
export function leadsTo(selector: Selector, side: Selector): boolean {
  return Object.entries(side).every(([key, value]) => selector[key] === value);
}

/** @returns what a merge patch has to say about the labels, so that only labels of the other side go away. */
export function selectorPatch(to: Selector, from: Selector): Readonly<Record<string, string | null>> {
  const gone = Object.keys(from).filter((key) => !(key in to));
  return { ...Object.fromEntries(gone.map((key) => [key, null])), ...to };
}

const failed = (step: string, where: string, expected: string, found: string, cause?: unknown): Error =>
  failure('TRAFFIC_FAILED', { message: `service ${where} failed at ${step}`, expected, found, cause });

/**
 * Patches the selectors of Services (DESIGN 7). A Service holds nobody back: clients keep their connections to the old
 * side until its fence refuses them, so `pause` and `resume` have nothing to do. Every step may be repeated.
 * @param connectTo only tests give another.
 */
export function kubernetesTraffic(
  options: KubernetesOptions,
  connectTo: (config: string | null) => Promise<ServiceApi> = serviceApi,
): TrafficDriver {
  const { services, selectors } = options;
  let api: Promise<ServiceApi> | undefined;
  const connected = (): Promise<ServiceApi> => {
    // A client that could not be made is made anew at the next step.
    api ??= connectTo(options.config).catch((error: unknown) => {
      api = undefined;
      throw error;
    });
    return api;
  };
  const told = async <T>(step: string, where: string, work: (api: ServiceApi) => Promise<T>): Promise<T> => {
    try {
      return await work(await connected());
    } catch (error) {
      const { code } = error as { code?: string | number };
      const found = code === undefined ? (error as Error).message : `HTTP or system error ${code}`;
      throw failed(step, where, 'an answer of the API server', found.split('\n')[0] ?? '', error);
    }
  };

  /** A compare-and-set on the Service's version: an abandoned patch that lands late changes nothing. */
  const point = async (address: ServiceAddress, to: Side, from: Side, step: string): Promise<void> => {
    const where = at(address);
    for (let tries = 1; ; tries++) {
      const now = await told(step, where, (client) => client.read(address));
      if (leadsTo(now.selector, selectors[to])) return;
      if (!leadsTo(now.selector, selectors[from]))
        throw failed(step, where, `${say(selectors[from])} or ${say(selectors[to])}`, say(now.selector));
      const selector = selectorPatch(selectors[to], selectors[from]);
      const after = await told(step, where, (client) => client.patch(address, now.version, selector, false));
      if (after !== 'conflict') {
        if (leadsTo(after.selector, selectors[to])) return;
        throw failed(step, where, say(selectors[to]), say(after.selector));
      }
      if (tries === TRIES) throw failed(step, where, 'a Service nobody else changes', `${TRIES} conflicts`);
    }
  };
  const pointAll = async (to: Side, from: Side, step: string): Promise<void> => {
    const settled = await Promise.allSettled(services.map((address) => point(address, to, from, step)));
    for (const outcome of settled) if (outcome.status === 'rejected') throw outcome.reason;
  };

  return {
    name: 'kubernetes',
    check: async ({ from, to }: TrafficTask) => {
      await Promise.all(
        services.map(async (address) => {
          const where = at(address);
          const now = await told('check', where, (client) => client.read(address));
          if (!leadsTo(now.selector, selectors[from]))
            throw failed('check', where, say(selectors[from]), say(now.selector));
          // The whole patch but its effect: whether we may, and whether the API server takes it.
          const selector = selectorPatch(selectors[to], selectors[from]);
          const tried = await told('check', where, (client) =>
            client.patch(address, now.version, selector, true),
          );
          if (tried !== 'conflict' && !leadsTo(tried.selector, selectors[to]))
            throw failed('check', where, say(selectors[to]), say(tried.selector));
        }),
      );
      return [
        'a Service moves new connections only: clients must connect again when a write is refused (25006)',
      ];
    },
    pause: async () => {},
    decided: () => {},
    switch: ({ from, to }) => pointAll(to, from, 'switch'),
    resume: async () => {},
    undo: ({ from, to }) => pointAll(from, to, 'undo'),
  };
}
