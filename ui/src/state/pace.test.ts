import { expect, test } from 'vitest';
import type { Series } from '../api/series';
import { differs, isFull, nextInterval } from './pace';

const QUARTER = 900_000;

test.each([
  ['an empty store, at once', { ageMs: Infinity, wanting: true, rangeMs: QUARTER, idle: 0 }, 1000],
  ['an empty store, later', { ageMs: Infinity, wanting: true, rangeMs: QUARTER, idle: 20 }, 5000],
  ['a young store', { ageMs: 30_000, wanting: false, rangeMs: QUARTER, idle: 1 }, 1500],
  ['a settled one', { ageMs: Infinity, wanting: false, rangeMs: QUARTER, idle: 0 }, 15_000],
  ['a settled one without news', { ageMs: Infinity, wanting: false, rangeMs: QUARTER, idle: 9 }, 60_000],
  ['a day', { ageMs: Infinity, wanting: false, rangeMs: 86_400_000, idle: 0 }, 1_440_000],
])('%s', (_, situation, expected) => expect(nextInterval(situation)).toBe(expected));

test('news', () => {
  const series = (times: number[], sum: number): Series => ({ labels: [], times, values: times.map(() => 1), sum });
  expect(differs([series([1, 2], 2)], [series([1, 2], 2)])).toBe(false);
  expect(differs([series([1, 2], 2)], [series([1, 2], 3)])).toBe(true);
  expect(differs([series([1], 1)], [series([1, 2], 1)])).toBe(true);
  expect(differs([], [series([1], 1)])).toBe(true);
  expect(differs([series([1], 1), series([2], 2)], [series([2], 2), series([1], 1)])).toBe(false);
});

test('a range that begins with data was full', () => {
  expect(isFull(5000, { from: 0, to: QUARTER })).toBe(true);
  expect(isFull(QUARTER / 2, { from: 0, to: QUARTER })).toBe(false);
});
