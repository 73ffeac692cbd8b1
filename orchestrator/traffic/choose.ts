import type { Settings } from '../config/settings.ts';
import { commandTraffic } from './command.ts';
import type { TrafficDriver } from './driver.ts';
import { kubernetesTraffic } from './kubernetes.ts';
import { noTraffic } from './none.ts';
import { pgbouncerTraffic } from './pgbouncer.ts';

/** @returns the driver that the settings name. */
export function driverOf(settings: Settings): TrafficDriver {
  switch (settings.traffic.driver) {
    case 'none':
      return noTraffic;
    case 'command':
      return commandTraffic(settings.traffic.command);
    case 'pgbouncer':
      return pgbouncerTraffic({
        consoles: settings.traffic.consoles.map((url) => url.reveal()),
        database: settings.traffic.database,
        includes: settings.traffic.includes,
      });
    case 'kubernetes':
      return kubernetesTraffic(settings.traffic);
  }
}
