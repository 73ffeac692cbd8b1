import type { TrafficDriver } from './driver.ts';

/** The operator moves the clients: the fence refuses on the old side, and accepts on the new one. */
export const noTraffic: TrafficDriver = {
  name: 'none',
  check: async () => [],
  pause: async () => {},
  decided: () => {},
  switch: async () => {},
  resume: async () => {},
  undo: async () => {},
};
