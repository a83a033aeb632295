/**
 * The flame tree: parallel typed arrays, one entry per node ("row").
 *
 * Invariant, established by {@link buildTree} and used by everything else: rows are in breadth
 * first order, so `parent` never decreases. It follows that the children of `row` are the rows
 * `firstChild[row] .. firstChild[row + 1]`, that a depth is one contiguous range of rows sorted
 * by `offset`, and that the rows of a subtree are one contiguous range per depth.
 *
 * Values are in the unit of the report. A child's box starts at its parent's offset plus the
 * extents of the siblings before it; the parent's flat value is what stays free at
 * the right, after the value that the server cut off (`hidden`).
 */
import type { SymbolPool } from './symbols';

/** What a report gives per node, in any order in which a parent exists somewhere. Row 0 is the root. */
export interface FlameColumns {
  parent: Int32Array;
  cumulative: Float64Array;
  flat: Float64Array;
  /** Signed change against the base profile, or null outside of comparisons. */
  diff: Float64Array | null;
  /** Symbol ids. */
  name: Uint32Array;
  binary: Uint32Array;
  file: Uint32Array;
  line: Uint32Array;
  address: BigUint64Array;
  inlined: Uint8Array;
  /** Why a frame has no function. */
  unresolved: Uint32Array;
  /** What runs it, as senders say: kernel, native, an interpreter. */
  frameType: Uint32Array;
}

export interface FlameTree extends FlameColumns {
  readonly count: number;
  readonly depth: Uint16Array;
  readonly offset: Float64Array;
  /** `count + 1` entries, see the module's invariant. */
  readonly firstChild: Uint32Array;
  /** Row range of depth d is `levelStart[d] .. levelStart[d + 1]`. */
  readonly levelStart: Uint32Array;
  /**
   * Widths of the boxes. The cumulative values themselves, unless values below zero are among them
   * or were sent as 0: then children hold more than their parent says, which grows to hold them.
   */
  readonly extent: Float64Array;
  /** Cumulative value of the children that the server cut off. */
  readonly hidden: Float64Array;
  /** 1 where something is hidden in the node or below. */
  readonly hiddenBelow: Uint8Array;
  readonly symbols: SymbolPool;
}

/** Number of depths, the root's included. */
export const levels = (tree: FlameTree): number => tree.levelStart.length - 1;

/** Room for `count` rows, all zero. */
export function emptyColumns(count: number, diff: boolean): FlameColumns {
  return {
    parent: new Int32Array(count),
    cumulative: new Float64Array(count),
    flat: new Float64Array(count),
    diff: diff ? new Float64Array(count) : null,
    name: new Uint32Array(count),
    binary: new Uint32Array(count),
    file: new Uint32Array(count),
    line: new Uint32Array(count),
    address: new BigUint64Array(count),
    inlined: new Uint8Array(count),
    unresolved: new Uint32Array(count),
    frameType: new Uint32Array(count),
  };
}

function copyRow(from: FlameColumns, source: number, to: FlameColumns, target: number): void {
  to.cumulative[target] = from.cumulative[source];
  to.flat[target] = from.flat[source];
  if (to.diff && from.diff) to.diff[target] = from.diff[source];
  to.name[target] = from.name[source];
  to.binary[target] = from.binary[source];
  to.file[target] = from.file[source];
  to.line[target] = from.line[source];
  to.address[target] = from.address[source];
  to.inlined[target] = from.inlined[source];
  to.unresolved[target] = from.unresolved[source];
  to.frameType[target] = from.frameType[source];
}

/** Breadth first already: parents never decrease and come before their children. */
function isCanonical(parent: Int32Array): boolean {
  for (let row = 1; row < parent.length; row++) {
    const p = parent[row];
    if (p < 0 || p >= row || (row > 1 && p < parent[row - 1])) return false;
  }
  return true;
}

/** Puts rows into breadth first order, siblings as they came. Rows that the root does not reach are left out. */
function canonicalise(columns: FlameColumns): FlameColumns {
  const count = columns.parent.length;
  if (count === 0 || isCanonical(columns.parent)) return columns;
  const start = new Uint32Array(count + 1);
  for (let row = 1; row < count; row++) {
    const p = columns.parent[row];
    if (p >= 0 && p < count && p !== row) start[p + 1]++;
  }
  for (let i = 0; i < count; i++) start[i + 1] += start[i];
  const fill = start.slice(0, count);
  const child = new Uint32Array(start[count]);
  for (let row = 1; row < count; row++) {
    const p = columns.parent[row];
    if (p >= 0 && p < count && p !== row) child[fill[p]++] = row;
  }
  const order = new Uint32Array(count);
  const parent = new Int32Array(count);
  parent[0] = -1;
  let reached = 1;
  for (let at = 0; at < reached; at++) {
    const source = order[at];
    for (let i = start[source]; i < start[source + 1]; i++) {
      order[reached] = child[i];
      parent[reached] = at;
      reached++;
    }
  }
  const out = emptyColumns(reached, columns.diff !== null);
  for (let row = 0; row < reached; row++) copyRow(columns, order[row], out, row);
  out.parent.set(parent.subarray(0, reached));
  return out;
}

/** {@link FlameTree.extent}; leaves the sums of the children's in `childSum`. */
function extents({ parent, cumulative }: FlameColumns, childSum: Float64Array): Float64Array {
  let own: Float64Array | null = null;
  for (let row = parent.length - 1; row >= 0; row--) {
    const value = cumulative[row];
    const least = childSum[row];
    let width = value;
    // Sums of doubles over 2^53 may be off by their rounding; that is no overflow.
    if (value < 0 || least > value * (1 + 1e-9)) {
      own ??= cumulative.slice();
      width = Math.max(0, least);
      own[row] = width;
    }
    if (row > 0) childSum[parent[row]] += width;
  }
  return own ?? cumulative;
}

/** Builds the tree that the engine draws. `input` needs at least the root. */
export function buildTree(input: FlameColumns, symbols: SymbolPool): FlameTree {
  const columns = canonicalise(input);
  const { parent, cumulative, flat } = columns;
  const count = parent.length;

  const firstChild = new Uint32Array(count + 1);
  const depth = new Uint16Array(count);
  const offset = new Float64Array(count);
  const childSum = new Float64Array(count);
  const levelStart: number[] = [0];
  const extent = extents(columns, childSum);
  const used = extent === cumulative ? childSum : new Float64Array(count);
  used.fill(0);
  let at = 0;
  for (let row = 1; row < count; row++) {
    const p = parent[row];
    while (at <= p) firstChild[at++] = row;
    depth[row] = Math.min(65535, depth[p] + 1);
    if (depth[row] !== depth[row - 1]) levelStart.push(row);
    offset[row] = offset[p] + used[p];
    used[p] += extent[row];
  }
  while (at <= count) firstChild[at++] = count;
  levelStart.push(count);

  const hidden = new Float64Array(count);
  const hiddenBelow = new Uint8Array(count);
  for (let row = count - 1; row >= 0; row--) {
    const rest = cumulative[row] - flat[row] - used[row];
    // Sums of doubles over 2^53 may be off by their rounding; that is not hidden value.
    if (rest > cumulative[row] * 1e-9 && rest > 0) {
      hidden[row] = rest;
      hiddenBelow[row] = 1;
    }
    if (hiddenBelow[row] && row > 0) hiddenBelow[parent[row]] = 1;
  }
  return {
    ...columns,
    count,
    depth,
    offset,
    extent,
    firstChild,
    levelStart: Uint32Array.from(levelStart),
    hidden,
    hiddenBelow,
    symbols,
  };
}

/** The row ranges of a subtree, one `[start, end)` per depth, `row` itself first. */
export function* subtreeRanges(tree: FlameTree, row: number): Generator<[number, number]> {
  let start = row;
  let end = row + 1;
  while (start < end) {
    yield [start, end];
    [start, end] = [tree.firstChild[start], tree.firstChild[end]];
  }
}

/** True where `row` is `ancestor` or below it. */
export function isWithin(tree: FlameTree, row: number, ancestor: number): boolean {
  let at = row;
  while (at > ancestor) at = tree.parent[at];
  return at === ancestor;
}

/**
 * Replaces what is below `row` by what is below `detailRow` of another report of the same
 * profile. The two nodes must have the same cumulative value; otherwise the reports are of
 * different data and null is returned.
 */
export function graft(
  tree: FlameTree,
  row: number,
  detail: FlameTree,
  detailRow: number,
): FlameTree | null {
  if (tree.cumulative[row] !== detail.cumulative[detailRow]) return null;
  const below = new Uint8Array(tree.count);
  let dropped = 0;
  for (const [start, end] of subtreeRanges(tree, row)) {
    if (start === row) continue;
    below.fill(1, start, end);
    dropped += end - start;
  }
  let added = -1;
  for (const [start, end] of subtreeRanges(detail, detailRow)) added += end - start;

  const out = emptyColumns(tree.count - dropped + added, tree.diff !== null);
  const rowMap = new Int32Array(tree.count);
  let next = 0;
  for (let source = 0; source < tree.count; source++) {
    if (below[source]) continue;
    copyRow(tree, source, out, next);
    out.parent[next] = source === 0 ? -1 : rowMap[tree.parent[source]];
    rowMap[source] = next++;
  }
  const target = rowMap[row];
  out.flat[target] = detail.flat[detailRow];
  const detailMap = new Int32Array(detail.count);
  detailMap[detailRow] = target;
  for (const [start, end] of subtreeRanges(detail, detailRow)) {
    if (start === detailRow) continue;
    for (let source = start; source < end; source++) {
      copyRow(detail, source, out, next);
      out.parent[next] = detailMap[detail.parent[source]];
      detailMap[source] = next++;
    }
  }
  return buildTree(out, tree.symbols);
}
