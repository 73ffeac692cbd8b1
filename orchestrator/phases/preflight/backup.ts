import { type Finding, warn } from './finding.ts';

/** No query can tell whether a backup exists and can be restored: somebody has to say so. */
export function checkBackup(confirmed: boolean | undefined): Finding[] {
  if (confirmed !== false) return [];
  return [
    warn('backup', 'blue', {
      expected: 'a backup of blue from before the migration, and a restore of it that was tried',
      found: 'nobody has confirmed one',
      fix: 'make one, then orchestrate preflight --backup-confirmed',
    }),
  ];
}
