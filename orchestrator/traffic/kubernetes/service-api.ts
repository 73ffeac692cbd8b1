import { failure } from '../../errors/failure.ts';

export interface ServiceAddress {
  readonly namespace: string;
  readonly name: string;
}

/** A Service, as far as it is ours to look at. */
export interface ServiceState {
  /** `metadata.resourceVersion`. */
  readonly version: string;
  readonly selector: Readonly<Record<string, string>>;
}

export interface ServiceApi {
  read(address: ServiceAddress): Promise<ServiceState>;
  /**
   * Merges labels into the selector of exactly that version of the Service; null removes one.
   * @param dryRun the API server checks everything and stores nothing.
   * @returns the Service as it is afterwards; `conflict` when it is of another version by now.
   */
  patch(
    address: ServiceAddress,
    version: string,
    selector: Readonly<Record<string, string | null>>,
    dryRun: boolean,
  ): Promise<ServiceState | 'conflict'>;
}

const ANSWER_MS = 5_000;
const CONFLICT = 409;

/**
 * Kubernetes' own client library, loaded only by who needs it: it is large, and an optional dependency.
 * @param config the path of a kubeconfig; null: where kubectl looks, and inside a pod its service account.
 * @param answerMs how long an answer is waited for.
 * @throws OrchestrateError CONFIG_INVALID when the library is not installed.
 */
export async function serviceApi(config: string | null, answerMs = ANSWER_MS): Promise<ServiceApi> {
  const library = await import('@kubernetes/client-node').catch((cause: unknown) => {
    throw failure('CONFIG_INVALID', {
      expected: '@kubernetes/client-node beside orchestrate',
      found: 'it is not installed',
      fix: 'npm install @kubernetes/client-node@1.4.0',
      cause,
    });
  });
  const { CoreV1Api, KubeConfig, PatchStrategy, setHeaderOptions } = library;
  const kubeConfig = new KubeConfig();
  if (config === null) kubeConfig.loadFromDefault();
  else kubeConfig.loadFromFile(config);
  const core = kubeConfig.makeApiClient(CoreV1Api);
  const state = (service: Awaited<ReturnType<typeof core.readNamespacedService>>): ServiceState => ({
    version: service.metadata?.resourceVersion ?? '',
    selector: service.spec?.selector ?? {},
  });
  return {
    read: async (address) => state(await inTime(core.readNamespacedService({ ...address }), answerMs)),
    patch: async (address, version, selector, dryRun) => {
      const body = { metadata: { resourceVersion: version }, spec: { selector } };
      try {
        return state(
          await inTime(
            core.patchNamespacedService(
              { ...address, body, fieldManager: 'orchestrate', ...(dryRun ? { dryRun: 'All' } : {}) },
              setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
            ),
            answerMs,
          ),
        );
      } catch (error) {
        if ((error as { code?: unknown }).code === CONFLICT) return 'conflict';
        throw error;
      }
    },
  };
}

/** An answer that is late may still come true: the version in the patch keeps it from undoing what came after it. */
async function inTime<T>(answer: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
    answer.catch(() => {});
  }
}
