/** What part of the tree's width is shown: zooming about a point, moving sideways, and which node a part lies in. */
import type { FlameTree } from './tree';

/** A range of values. */
export interface Span {
  start: number;
  end: number;
}

/** The narrowest span, as share of everything: doubles still tell its pixels apart. */
const NARROWEST_SHARE = 1e-9;

function within(tree: FlameTree, start: number, length: number): Span {
  const total = tree.extent[0];
  const from = Math.min(Math.max(0, start), Math.max(0, total - length));
  return { start: from, end: Math.min(total, from + length) };
}

/** `span` zoomed by `factor`; what stands at `at`, 0 to 1 from the left, stays there as far as the edges allow. */
export function zoomed(tree: FlameTree, { start, end }: Span, factor: number, at: number): Span {
  const total = tree.extent[0];
  const length = Math.min(total, Math.max(total * NARROWEST_SHARE, (end - start) / factor));
  return within(tree, start + (end - start) * at - length * at, length);
}

/** `span` moved by this share of its own length; stops at the edges. */
export const panned = (tree: FlameTree, { start, end }: Span, by: number): Span =>
  within(tree, start + (end - start) * by, end - start);

/** `span` moved so that `row` is in it, by no more than needed: the whole of the row, or its beginning where it is longer. */
export function revealed(tree: FlameTree, span: Span, row: number): Span {
  const length = span.end - span.start;
  const from = tree.offset[row];
  const to = from + tree.extent[row];
  if (from < span.end && to > span.start && (from >= span.start || to - from > length)) {
    if (to <= span.end || to - from > length) return span;
  }
  return within(tree, from < span.start || to - from > length ? from : to - length, length);
}

/** The deepest node that holds all of `span`. */
export function covering(tree: FlameTree, { start, end }: Span): number {
  let row = 0;
  for (;;) {
    let next = -1;
    for (let child = tree.firstChild[row]; child < tree.firstChild[row + 1]; child++) {
      if (tree.offset[child] <= start && tree.offset[child] + tree.extent[child] >= end) next = child;
    }
    if (next < 0) return row;
    row = next;
  }
}
