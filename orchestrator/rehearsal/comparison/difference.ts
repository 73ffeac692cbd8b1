/** One difference: where, never what. The values hold keys and secrets. */
export interface Difference {
  /**
   * `missing` on green · `extra` on green · `different` columns · `twice` mapped and parked · `own-row` an own org,
   * membership or settings row is missing · `constant` · `reason` of a parked row · `vacant` key ·
   * `lost` an acknowledged write is not on the serving side.
   */
  readonly kind:
    | 'missing'
    | 'extra'
    | 'different'
    | 'twice'
    | 'own-row'
    | 'constant'
    | 'reason'
    | 'vacant'
    | 'lost';
  readonly key: number;
  readonly table: string;
  readonly columns: readonly string[];
}

/** There was nothing to compare: two empty sides are not equal, they are unproven. */
export class NothingToCompare extends Error {
  override readonly name = 'NothingToCompare';
}
