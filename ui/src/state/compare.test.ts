import { expect, test } from 'vitest';
import type { Series } from '../api/series';
import { DEFAULT_SIDE } from './address';
import { initialSides } from './compare';

const side = { ...DEFAULT_SIDE, expression: 'cpu{}' };
const range = { from: 0, to: 1000 };
const series = (...times: number[]): Series[] => [{ labels: [], times, values: times.map(() => 1), sum: times.length }];

test('halves of what has data', () => {
  const { a, b } = initialSides(side, range, true, series(400, 500, 800));
  expect(a.selection).toEqual({ from: 400, to: 599, query: null });
  expect(b.selection).toEqual({ from: 600, to: 1000, query: null });
  expect(b.expression).toBe('cpu{}');
});

test('halves of the range where nothing is known', () => {
  const { a, b } = initialSides(side, range, true, []);
  expect([a.selection?.from, a.selection?.to, b.selection?.from]).toEqual([0, 499, 500]);
});

test('a selection against the whole', () => {
  const selection = { from: 100, to: 200, query: null };
  const { a, b } = initialSides({ ...side, selection }, range, true, series(0, 900));
  expect(a.selection).toBeNull();
  expect(b.selection).toEqual(selection);
});

test('states: the first and the last', () => {
  const { a, b } = initialSides(side, range, false, series(100, 900));
  expect([a.selection?.from, a.selection?.to, b.selection?.from, b.selection?.to]).toEqual([100, 100, 900, 900]);
});
