import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { TrafficDriver, TrafficTask } from '../../orchestrator/traffic/driver.ts';
import { serviceApi } from '../../orchestrator/traffic/kubernetes/service-api.ts';
import { kubernetesTraffic } from '../../orchestrator/traffic/kubernetes.ts';
import { type ApiServer, startApiServer } from '../support/kubernetes.ts';

const BLUE = { 'db-side': 'blue', legacy: 'yes' };
const GREEN = { 'db-side': 'green' };
const PATH = '/api/v1/namespaces/shop/services/database';

const task: TrafficTask = {
  migration: 'm',
  attempt: 'a',
  kind: 'cutover',
  from: 'blue',
  to: 'green',
  deadline: Date.now() / 1000 + 30,
};
const failedAt = (step: string, found: RegExp) => ({
  code: 'TRAFFIC_FAILED',
  message: expect.stringContaining(`shop/database failed at ${step}`) as string,
  detail: expect.objectContaining({ found: expect.stringMatching(found) as string }) as object,
});

describe('traffic=kubernetes', () => {
  let api: ApiServer;
  let driver: TrafficDriver;

  beforeEach(async () => {
    api = await startApiServer('shop', 'database', { app: 'shop', ...BLUE });
    const services = [{ namespace: 'shop', name: 'database' }];
    driver = kubernetesTraffic(
      { services, selectors: { blue: BLUE, green: GREEN }, config: api.config },
      (c) => serviceApi(c, 1_000),
    );
  });
  afterEach(() => api.close());
  const patches = () => api.requests.filter((r) => r.method === 'PATCH');

  it('check asks whether it may, changes nothing, and says what a Service cannot do', async () => {
    expect(await driver.check(task)).toEqual([expect.stringContaining('new connections only')]);
    expect(patches().map((r) => new URL(r.url, 'http://stub').searchParams.get('dryRun'))).toEqual(['All']);
    expect(api.selector).toEqual({ app: 'shop', ...BLUE });
    expect(api.version).toBe(1);
  });

  it('check fails when the Service leads elsewhere, is not there, or may not be patched', async () => {
    api.selector = { app: 'shop', 'db-side': 'green' };
    await expect(driver.check(task)).rejects.toMatchObject(failedAt('check', /db-side=green/));
    api.selector = { ...BLUE };
    api.before = ({ method }) => (method === 'PATCH' ? 403 : undefined);
    await expect(driver.check(task)).rejects.toMatchObject(failedAt('check', /403/));
    api.before = () => 404;
    await expect(driver.check(task)).rejects.toMatchObject(failedAt('check', /404/));
  });

  it('switch patches the selector of that very version, removes labels of the old side, and keeps the others', async () => {
    await driver.pause(task);
    driver.decided();
    await driver.switch(task);
    await driver.resume(task);
    expect(api.selector).toEqual({ app: 'shop', 'db-side': 'green' });
    const [patch] = patches();
    expect(patches()).toHaveLength(1);
    expect(patch).toMatchObject({
      contentType: 'application/merge-patch+json',
      body: { metadata: { resourceVersion: '1' }, spec: { selector: { 'db-side': 'green', legacy: null } } },
    });
    const { pathname, searchParams } = new URL(patch?.url ?? '', 'http://stub');
    expect(pathname).toBe(PATH);
    expect(searchParams.get('dryRun')).toBeNull();
    expect(searchParams.get('fieldManager')).toBe('orchestrate');
  });

  it('switch and undo may be repeated, and undo leads back', async () => {
    await driver.switch(task);
    await driver.switch(task);
    expect(patches()).toHaveLength(1);
    await driver.undo(task);
    await driver.undo(task);
    expect(api.selector).toEqual({ app: 'shop', ...BLUE });
    expect(patches()).toHaveLength(2);
  });

  it('a Service that somebody changes meanwhile is read again; their change stays', async () => {
    let meddled = false;
    api.before = ({ method }) => {
      if (method === 'PATCH' && !meddled) {
        meddled = true;
        api.selector = { ...api.selector, theirs: 'too' };
        api.version += 1;
      }
      return undefined;
    };
    await driver.switch(task);
    expect(patches()).toHaveLength(2);
    expect(api.selector).toEqual({ app: 'shop', 'db-side': 'green', theirs: 'too' });
  });

  it('a Service that leads to neither side is not touched', async () => {
    api.selector = { app: 'shop', 'db-side': 'black' };
    await expect(driver.switch(task)).rejects.toMatchObject(failedAt('switch', /db-side=black/));
    await expect(driver.undo(task)).rejects.toMatchObject(failedAt('undo', /db-side=black/));
    expect(patches()).toEqual([]);
  });

  it('an API server that does not answer is not waited for for ever; the token is told to nobody', async () => {
    api.before = () => 'hang';
    await expect(driver.switch(task)).rejects.toMatchObject(failedAt('switch', /no answer in 1000 ms/));
    api.before = () => 500;
    const error: unknown = await driver.switch(task).catch((e: unknown) => e);
    expect(JSON.stringify(error)).not.toContain('token-of-the-stub');
  });
});
