import { expect, test } from 'vitest';
import type { Series } from './api/series';
import { describeType, parseTypeKey, preferredType, typeKey } from './profile-type';
import { lastSnapshot, tabulate } from './series-data';
import { ago, decodeTime, encodeTime, PRESETS, rangeOf, stepFor } from './time';
import { formatChange, formatCount, formatShare, formatSigned, formatSpan, formatValue, seriesUnit } from './units';
import { arrange, type SortColumn } from './top-table';
import { SymbolPool } from './flame/symbols';

test.each([
  [0, 'nanoseconds', '0 s'],
  [1, 'nanoseconds', '1.00 ns'],
  [12_300_000_000, 'nanoseconds', '12.3 s'],
  [5_400_000_000_000, 'nanoseconds', '1.50 h'],
  [-2_500_000, 'nanoseconds', '-2.50 ms'],
  [1536, 'bytes', '1.50 KiB'],
  [0, 'bytes', '0 B'],
  [4.2e9, 'bytes', '3.91 GiB'],
  [950, 'count', '950'],
  [18_234, 'count', '18.2 k'],
  [3, 'widgets', '3 widgets'],
])('%d %s', (value, unit, text) => expect(formatValue(value, unit)).toBe(text));

test('shares and counts', () => {
  expect(formatShare(1, 0)).toBe('0 %');
  expect(formatShare(1, 3)).toBe('33.3 %');
  expect(formatShare(-1, -4)).toBe('-25.0 %');
  expect(formatShare(1, 30)).toBe('3.33 %');
  expect(formatShare(1, 1e9)).toBe('< 0.01 %');
  expect(formatCount(999)).toBe('999');
  expect(formatSpan(900_000)).toBe('15 min');
});

test.each([
  [0, 10, '±0 %'],
  [5, 10, '+50.0 %'],
  [-1, 30, '−3.33 %'],
  [-1, 1e9, '−< 0.01 %'],
  [90, 5, '×19.0'],
  [5, 0, 'new'],
])('change of %d against %d', (change, before, text) => expect(formatChange(change, before)).toBe(text));

test('signed values', () => {
  expect(formatSigned(1.2e9, 'nanoseconds')).toBe('+1.20 s');
  expect(formatSigned(-2048, 'bytes')).toBe('−2.00 KiB');
  expect(formatSigned(0, 'bytes')).toBe('0 B');
});

test('units of the axis', () => {
  const cpu = { sampleType: 'cpu', sampleUnit: 'nanoseconds', periodType: 'cpu', delta: true };
  expect(seriesUnit(cpu).title).toBe('CPU cores');
  expect(seriesUnit(cpu).format(1.56)).toBe('1.56');
  expect(seriesUnit(cpu).format(2)).toBe('2');
  expect(seriesUnit(cpu).format(0.05)).toBe('0.05');
  expect(seriesUnit({ ...cpu, sampleType: 'inuse_space', sampleUnit: 'bytes', periodType: 'space', delta: false }).format(2 ** 21)).toBe('2.00 MiB');
  expect(seriesUnit({ ...cpu, sampleType: 'alloc_space', sampleUnit: 'bytes', periodType: 'space' }).format(2 ** 21)).toBe('2.00 MiB/s');
});

test('profile types', () => {
  const key = 'process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta';
  const cpu = parseTypeKey(key);
  const agent = parseTypeKey('parca_agent:samples:count:cpu:nanoseconds:delta');
  const own = parseTypeKey('decima_cpu:cpu:nanoseconds:cpu:nanoseconds:delta');
  const heap = parseTypeKey('memory:inuse_space:bytes:space:bytes');
  if (!cpu || !agent || !own || !heap) throw new Error('they are types');
  expect(typeKey(cpu)).toBe(key);
  for (const bad of ['', 'a', 'a:b:c:d', 'a:b:c:d:e:f', 'a:b:c:d:e:delta:x']) expect(parseTypeKey(bad)).toBeNull();
  expect(preferredType([heap, own, cpu, agent])).toBe(agent);
  expect(preferredType([heap, own, cpu])).toBe(cpu);
  expect(preferredType([own, heap])).toBe(heap);
  expect(preferredType([{ ...heap, name: 'decima_memory' }, own])).toBe(own);
  expect(preferredType([{ ...heap, sampleType: 'alloc_objects' }, heap])).toBe(heap);
  expect(preferredType([heap])).toBe(heap);
  expect(preferredType([])).toBeNull();
  expect(describeType(heap).title).toBe('Memory in use');
  expect(describeType({ ...heap, name: 'x', sampleType: 'odd_thing', sampleUnit: 'widgets' }).title).toBe('x: odd thing');
});

test('time ranges', () => {
  const now = 1_700_000_000_000;
  for (const preset of PRESETS) expect(decodeTime(encodeTime(preset), now)).toEqual(preset);
  expect(decodeTime('absolute:5-now', now)).toEqual({ kind: 'absolute', from: 5, to: now });
  expect(decodeTime('absolute:5-5', now)).toBeNull();
  expect(rangeOf({ kind: 'relative', unit: 'hour', count: 1 }, now)).toEqual({ from: now - 3_600_000, to: now });
  expect(stepFor({ from: 0, to: 900_000 }, 180)).toBe(10);
  expect(stepFor({ from: 0, to: 3_600_000 }, 180)).toBe(30);
  expect(stepFor({ from: 0, to: 60_000 }, 180)).toBe(1);
  expect(ago(now - 5000, now)).toBe('5 s ago');
  expect(ago(now - 7_200_000, now)).toBe('2 h ago');
});

test('series: one axis, gaps where data is missing', () => {
  const one: Series = { labels: [], times: [0, 10, 20, 100, 110], values: [1, 1, 1, 1, 1], sum: 5 };
  const two: Series = { labels: [{ name: 'a', value: 'b' }], times: [5, 15, 25], values: [9, 9, 9], sum: 27 };
  const table = tabulate([one, two]);
  expect(table.shown[0]).toBe(two);
  expect(table.times).toEqual([0, 5, 10, 15, 20, 25, 60, 100, 110]);
  expect(table.lines[1]).toEqual([1, undefined, 1, undefined, 1, undefined, null, 1, 1]);
  expect(tabulate([]).times).toEqual([]);
});

test('the last snapshot of states', () => {
  const at = (...times: number[]): Series => ({ labels: [], times, values: times.map(() => 1), sum: times.length });
  expect(lastSnapshot([at(1000, 11_000, 21_000), at(3000, 13_000, 23_000)], 5)).toEqual({ from: 13_001, to: 23_000 });
  expect(lastSnapshot([at(9000)], 5)).toEqual({ from: 4001, to: 9000 });
  expect(lastSnapshot([], 5)).toBeNull();
  expect(lastSnapshot([at()], 5)).toBeNull();
});

test('order of the top table', () => {
  const symbols = new SymbolPool();
  const names = ['b', 'a', 'c', 'd'];
  const table = {
    count: 4, name: Uint32Array.from(names, (name) => symbols.intern(name)), file: new Uint32Array(4), binary: new Uint32Array(4), line: new Uint32Array(4),
    cumulative: Float64Array.of(5, 5, 9, 1), flat: Float64Array.of(1, 2, 3, 4), flatDiff: Float64Array.of(0, -3, 2, -1), cumulativeDiff: null, unresolved: new Uint32Array(4), frameType: new Uint32Array(4), symbols,
  };
  const order = (column: SortColumn, descending: boolean, test: ((name: string) => boolean) | null = null): string =>
    [...arrange(table, { column, descending }, test)].map((row) => names[row]).join('');
  expect(order('flat', true)).toBe('dcab');
  expect(order('cumulative', true)).toBe('cabd');
  expect(order('flatDiff', true)).toBe('cbda');
  expect(order('cumulativeDiff', true)).toBe('abcd');
  expect(order('name', false)).toBe('abcd');
  expect(order('name', true, (name) => name !== 'c')).toBe('dba');
});
