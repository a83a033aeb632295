/** A flame tree on its way from one thread to another. Its names are numbers of the sender's pool; the receiver has its own. */
import { SymbolPool } from '../flame/symbols';
import type { FlameTree } from '../flame/tree';

/** A tree whose pool is a list of strings. */
export type SentTree = Omit<FlameTree, 'symbols'> & { strings: string[] };

/** `tree` as it is sent, and the buffers that go with it. */
export function send(tree: FlameTree): { sent: SentTree; buffers: ArrayBuffer[] } {
  const { symbols, ...rest } = tree;
  const buffers = new Set<ArrayBuffer>();
  for (const value of Object.values(rest)) if (ArrayBuffer.isView(value)) buffers.add(value.buffer as ArrayBuffer);
  return { sent: { ...rest, strings: symbols.strings }, buffers: [...buffers] };
}

/** The tree with its names in `pool`. */
export function adopt({ strings, ...rest }: SentTree, pool: SymbolPool): FlameTree {
  const ids = Uint32Array.from(strings, (text) => pool.intern(text));
  for (const column of [rest.name, rest.binary, rest.file, rest.unresolved, rest.frameType]) {
    for (let row = 0; row < column.length; row++) column[row] = ids[column[row]];
  }
  return { ...rest, symbols: pool };
}
