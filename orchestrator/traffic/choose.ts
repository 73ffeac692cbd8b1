import type { Settings } from '../config/settings.ts';
import { failure } from '../errors/failure.ts';
import { commandTraffic } from './command.ts';
import type { TrafficDriver } from './driver.ts';
import { noTraffic } from './none.ts';

/** @returns the driver that the settings name. @throws OrchestrateError CONFIG_INVALID for one that is not built yet. */
export function driverOf(settings: Settings): TrafficDriver {
  switch (settings.traffic.driver) {
    case 'none':
      return noTraffic;
    case 'command':
      return commandTraffic(settings.traffic.command);
    case 'pgbouncer':
    case 'kubernetes':
      throw failure('CONFIG_INVALID', {
        expected: '--traffic none or command',
        found: settings.traffic.driver,
      });
  }
}
