import { expect, test } from 'vitest';
import { covering, panned, revealed, zoomed } from './span';
import { SymbolPool } from './symbols';
import { buildTree, emptyColumns } from './tree';

/** A root of 100 with children of 40, 30 and 30; the first has one of 20. */
function tree() {
  const columns = emptyColumns(5, false);
  columns.parent.set([-1, 0, 0, 0, 1]);
  columns.cumulative.set([100, 40, 30, 30, 20]);
  return buildTree(columns, new SymbolPool());
}

test('zooming holds on to a point', () => {
  expect(zoomed(tree(), { start: 0, end: 100 }, 2, 0.5)).toEqual({ start: 25, end: 75 });
  expect(zoomed(tree(), { start: 25, end: 75 }, 2, 0)).toEqual({ start: 25, end: 50 });
  // Out again, but not over the edge.
  expect(zoomed(tree(), { start: 0, end: 50 }, 0.25, 1)).toEqual({ start: 0, end: 100 });
  expect(zoomed(tree(), { start: 60, end: 100 }, 0.5, 1)).toEqual({ start: 20, end: 100 });
  const narrow = zoomed(tree(), { start: 0, end: 100 }, 1e30, 0.5);
  expect(narrow.end - narrow.start).toBeGreaterThan(0);
});

test('moving stops at the edges', () => {
  expect(panned(tree(), { start: 20, end: 40 }, 0.5)).toEqual({ start: 30, end: 50 });
  expect(panned(tree(), { start: 20, end: 40 }, -9)).toEqual({ start: 0, end: 20 });
  expect(panned(tree(), { start: 20, end: 40 }, 9)).toEqual({ start: 80, end: 100 });
});

test('a row is brought into view by no more than needed', () => {
  const span = { start: 30, end: 70 };
  expect(revealed(tree(), span, 2)).toBe(span);
  expect(revealed(tree(), span, 1)).toEqual({ start: 0, end: 40 });
  expect(revealed(tree(), span, 3)).toEqual({ start: 60, end: 100 });
  expect(revealed(tree(), { start: 90, end: 95 }, 1)).toEqual({ start: 0, end: 5 });
  const inside = { start: 5, end: 10 };
  expect(revealed(tree(), inside, 1)).toBe(inside);
});

test('the deepest node around a span', () => {
  expect(covering(tree(), { start: 0, end: 100 })).toBe(0);
  expect(covering(tree(), { start: 0, end: 40 })).toBe(1);
  expect(covering(tree(), { start: 3, end: 9 })).toBe(4);
  expect(covering(tree(), { start: 25, end: 45 })).toBe(0);
});
