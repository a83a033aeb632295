/**
 * Search over names, and sums over sets of nodes. A name is tested once, however many nodes
 * carry it; a set of nodes is a byte per row.
 */
import type { SymbolPool } from './symbols';
import { subtreeRanges, type FlameTree } from './tree';

export interface SearchText {
  text: string;
  regex: boolean;
}

/** A test of names, or the reason why there is none. Always ignores case. */
export function compileSearch(search: SearchText): ((name: string) => boolean) | { error: string } {
  if (search.regex) {
    try {
      const pattern = new RegExp(search.text, 'i');
      return (name) => pattern.test(name);
    } catch (cause) {
      return { error: cause instanceof Error ? cause.message.replace(/^Invalid regular expression: /, '') : 'not a pattern' };
    }
  }
  const needle = search.text.toLowerCase();
  return (name) => name.toLowerCase().includes(needle);
}

/** One byte per symbol id that is used as a name in `tree`: 1 = matches. */
export function matchSymbols(tree: FlameTree, test: (name: string) => boolean): Uint8Array {
  const symbols: SymbolPool = tree.symbols;
  const mask = new Uint8Array(symbols.size);
  const tested = new Uint8Array(symbols.size);
  for (let row = 1; row < tree.count; row++) {
    const id = tree.name[row];
    if (tested[id]) continue;
    tested[id] = 1;
    if (test(symbols.text(id))) mask[id] = 1;
  }
  return mask;
}

/** Nodes chosen by name, with a running count so that "any in this range" costs nothing. */
export interface RowSet {
  mask: Uint8Array;
  /** `before[row]` = members in rows `0 .. row`; `count + 1` entries. */
  before: Uint32Array;
  size: number;
}

/** The nodes whose name is in `symbolMask`. */
export function rowsOf(tree: FlameTree, symbolMask: Uint8Array): RowSet {
  const mask = new Uint8Array(tree.count);
  const before = new Uint32Array(tree.count + 1);
  let size = 0;
  for (let row = 0; row < tree.count; row++) {
    before[row] = size;
    if (row > 0 && symbolMask[tree.name[row]]) {
      mask[row] = 1;
      size++;
    }
  }
  before[tree.count] = size;
  return { mask, before, size };
}

export interface Coverage {
  /** Value of the members; a member below another one is not counted twice. */
  cumulative: number;
  flat: number;
  nodes: number;
}

/** What the members of `rows` hold within the subtree of `root`. */
export function coverage(tree: FlameTree, mask: Uint8Array, root = 0): Coverage {
  const covered = new Uint8Array(tree.count);
  let cumulative = 0;
  let flat = 0;
  let nodes = 0;
  for (const [start, end] of subtreeRanges(tree, root)) {
    for (let row = start; row < end; row++) {
      const above = row === root ? 0 : covered[tree.parent[row]];
      covered[row] = above | mask[row];
      if (!mask[row]) continue;
      nodes++;
      flat += tree.flat[row];
      if (!above) cumulative += tree.cumulative[row];
    }
  }
  return { cumulative, flat, nodes };
}

/** The nodes of one function. */
export function rowsNamed(tree: FlameTree, name: number): Uint8Array {
  const mask = new Uint8Array(tree.count);
  for (let row = 1; row < tree.count; row++) if (tree.name[row] === name) mask[row] = 1;
  return mask;
}

/** The widest member of `mask` below `root`, or -1. */
export function widest(tree: FlameTree, mask: Uint8Array, root = 0): number {
  let best = -1;
  for (const [start, end] of subtreeRanges(tree, root)) {
    for (let row = start; row < end; row++) {
      if (mask[row] && (best < 0 || tree.cumulative[row] > tree.cumulative[best])) best = row;
    }
  }
  return best;
}
