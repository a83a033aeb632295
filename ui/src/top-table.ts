/** Order and choice of the rows of the top table. */
import type { TopTable } from './api/arrow';

export type SortColumn = 'name' | 'flat' | 'flatDiff' | 'cumulative' | 'cumulativeDiff' | 'binary';

export interface Sort {
  column: SortColumn;
  descending: boolean;
}

/** Row numbers of `table` that pass `test`, in order. Equal values keep their names' order, so that a sort is the same every time. */
export function arrange(table: TopTable, sort: Sort, test: ((name: string) => boolean) | null): Uint32Array {
  const rows: number[] = [];
  for (let row = 0; row < table.count; row++) {
    if (!test || test(table.symbols.text(table.name[row]))) rows.push(row);
  }
  const name = (row: number): string => table.symbols.text(table.name[row]);
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  const change = (values: Float64Array | null) => (a: number, b: number): number => (values ? values[a] - values[b] : 0);
  const by: Record<SortColumn, (a: number, b: number) => number> = {
    name: (a, b) => order(name(a), name(b)),
    flat: (a, b) => table.flat[a] - table.flat[b],
    cumulative: (a, b) => table.cumulative[a] - table.cumulative[b],
    flatDiff: change(table.flatDiff),
    cumulativeDiff: change(table.cumulativeDiff),
    binary: (a, b) => order(table.symbols.text(table.binary[a]), table.symbols.text(table.binary[b])),
  };
  const sign = sort.descending ? -1 : 1;
  rows.sort((a, b) => sign * by[sort.column](a, b) || order(name(a), name(b)));
  return Uint32Array.from(rows);
}
