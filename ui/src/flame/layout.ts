/**
 * Which boxes are to be drawn: culling by depth and value range. The work is bounded by
 * pixels × rows of the screen and not by the number of nodes, because a run of boxes that are
 * narrower than a pixel is crossed by binary search and drawn as one bar.
 */
import type { FlameTree } from './tree';

/** Boxes narrower than this are merged with their neighbours, in CSS pixels. */
const MIN_BOX_PX = 1;
/** Hidden value narrower than this is not drawn: nobody could hit it. */
const MIN_HIDDEN_PX = 4;

export const enum BoxKind {
  /** One node. */
  Node = 0,
  /** Several neighbours, each too narrow to draw. */
  Run = 1,
  /** Value below `row` that the server cut off. */
  Hidden = 2,
}

export interface View {
  /** Value range that fills the width. */
  start: number;
  end: number;
  /** CSS pixels. */
  width: number;
  /** Depths `from .. to` (exclusive) are on screen. */
  fromDepth: number;
  toDepth: number;
}

/** Boxes in draw order (by depth, then left to right), as growing parallel arrays that are reused from frame to frame. */
export class BoxList {
  count = 0;
  row = new Int32Array(4096);
  /** End of the row range of a run; `row + 1` otherwise. */
  rowEnd = new Int32Array(4096);
  x = new Float32Array(4096);
  width = new Float32Array(4096);
  depth = new Uint16Array(4096);
  kind = new Uint8Array(4096);

  clear(): void {
    this.count = 0;
  }

  push(kind: BoxKind, row: number, rowEnd: number, depth: number, x: number, width: number): void {
    if (this.count === this.row.length) this.grow();
    const i = this.count++;
    this.kind[i] = kind;
    this.row[i] = row;
    this.rowEnd[i] = rowEnd;
    this.depth[i] = depth;
    this.x[i] = x;
    this.width[i] = width;
  }

  private grow(): void {
    const size = this.row.length * 2;
    const larger = <T extends Int32Array | Float32Array | Uint16Array | Uint8Array>(old: T, fresh: T): T => {
      fresh.set(old);
      return fresh;
    };
    this.row = larger(this.row, new Int32Array(size));
    this.rowEnd = larger(this.rowEnd, new Int32Array(size));
    this.x = larger(this.x, new Float32Array(size));
    this.width = larger(this.width, new Float32Array(size));
    this.depth = larger(this.depth, new Uint16Array(size));
    this.kind = larger(this.kind, new Uint8Array(size));
  }
}

/** First row in `from .. to` whose box ends after `value`; `to` where none does. */
export function firstEndingAfter(tree: FlameTree, from: number, to: number, value: number): number {
  let low = from;
  let high = to;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (tree.offset[middle] + tree.extent[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Fills `out` with what `view` shows of `tree`. */
export function visibleBoxes(tree: FlameTree, view: View, out: BoxList): void {
  out.clear();
  const span = view.end - view.start;
  if (!(span > 0) || view.width <= 0) return;
  const scale = view.width / span;
  const valuePerPx = span / view.width;
  const lastLevel = tree.levelStart.length - 2;
  const { offset, extent, levelStart } = tree;

  for (let depth = view.fromDepth; depth < view.toDepth; depth++) {
    // What is hidden below a node is drawn one depth further down, beside its children.
    if (depth > 0 && depth - 1 <= lastLevel) hiddenBoxes(tree, view, depth, scale, out);
    if (depth > lastLevel) continue;
    const end = levelStart[depth + 1];
    let row = firstEndingAfter(tree, levelStart[depth], end, view.start);
    while (row < end && offset[row] < view.end) {
      const left = Math.max(0, (offset[row] - view.start) * scale);
      const right = Math.min(view.width, (offset[row] + extent[row] - view.start) * scale);
      if (right - left >= MIN_BOX_PX) {
        out.push(BoxKind.Node, row, row + 1, depth, left, right - left);
        row++;
        continue;
      }
      // Cross everything that ends within the next pixel in one step.
      let next = Math.max(row + 1, firstEndingAfter(tree, row, end, offset[row] + valuePerPx * MIN_BOX_PX));
      let runRight = Math.min(view.width, (offset[next - 1] + extent[next - 1] - view.start) * scale);
      // Neighbouring runs that touch are one bar.
      while (next < end && offset[next] < view.end) {
        const nextLeft = (offset[next] - view.start) * scale;
        if (extent[next] * scale >= MIN_BOX_PX || nextLeft > runRight + 0.5) break;
        const step = Math.max(next + 1, firstEndingAfter(tree, next, end, offset[next] + valuePerPx * MIN_BOX_PX));
        runRight = Math.min(view.width, (offset[step - 1] + extent[step - 1] - view.start) * scale);
        next = step;
      }
      // A comparison has boxes of value zero; they take no room.
      if (runRight > left) out.push(BoxKind.Run, row, next, depth, left, Math.max(runRight - left, 0.25));
      row = next;
    }
  }
}

function hiddenBoxes(tree: FlameTree, view: View, depth: number, scale: number, out: BoxList): void {
  const { levelStart, hidden, offset, extent, flat } = tree;
  const end = levelStart[depth];
  const minValue = MIN_HIDDEN_PX / scale;
  let row = firstEndingAfter(tree, levelStart[depth - 1], end, view.start);
  while (row < end && offset[row] < view.end) {
    if (extent[row] < minValue) {
      row = Math.max(row + 1, firstEndingAfter(tree, row, end, offset[row] + 1 / scale));
      continue;
    }
    if (hidden[row] >= minValue) {
      const from = offset[row] + extent[row] - flat[row] - hidden[row];
      const left = Math.max(0, (from - view.start) * scale);
      const right = Math.min(view.width, (from + hidden[row] - view.start) * scale);
      if (right - left >= MIN_HIDDEN_PX) out.push(BoxKind.Hidden, row, row + 1, depth, left, right - left);
    }
    row++;
  }
}

/** What lies at a value of a depth: a node, hidden value of a node one depth up, or nothing. */
export function hitTest(
  tree: FlameTree,
  depth: number,
  value: number,
): { kind: BoxKind.Node | BoxKind.Hidden; row: number } | null {
  const lastLevel = tree.levelStart.length - 2;
  if (depth < 0 || depth > lastLevel + 1) return null;
  if (depth <= lastLevel) {
    const row = rowAt(tree, depth, value);
    if (row >= 0) return { kind: BoxKind.Node, row };
  }
  if (depth === 0) return null;
  const above = rowAt(tree, depth - 1, value);
  if (above < 0 || tree.hidden[above] === 0) return null;
  const end = tree.offset[above] + tree.extent[above] - tree.flat[above];
  return value >= end - tree.hidden[above] && value < end ? { kind: BoxKind.Hidden, row: above } : null;
}

function rowAt(tree: FlameTree, depth: number, value: number): number {
  const end = tree.levelStart[depth + 1];
  const row = firstEndingAfter(tree, tree.levelStart[depth], end, value);
  return row < end && tree.offset[row] <= value ? row : -1;
}
