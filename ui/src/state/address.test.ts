import { expect, test } from 'vitest';
import { DEFAULT_STATE, readAddress, writeAddress, type PageState } from './address';
import { decodeFilters, encodeFilters, wireFilter } from './filters';

const NOW = 1_700_000_900_000;
const TYPE = 'process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta';

test('an empty address is the default', () => {
  expect(readAddress('', NOW)).toEqual(DEFAULT_STATE);
  expect(writeAddress('', DEFAULT_STATE)).toBe('');
});

test('what is written is read again', () => {
  const state: PageState = {
    a: {
      expression: `${TYPE}{job="a b&c"}`,
      time: { kind: 'absolute', from: 1_700_000_000_000, to: 1_700_000_900_000 },
      sumBy: ['job', 'region'],
      selection: { from: 1_700_000_100_000, to: 1_700_000_110_000, query: `${TYPE}{job="x"}` },
    },
    b: null,
    absolute: null,
    panels: ['table', 'flamegraph'],
    colourBy: 'binary',
    invert: true,
    path: '["main.main"]',
    search: 'json.*',
    regex: true,
    pinned: 'main.run',
    filters: 's:fn:=:main.run',
  };
  expect(readAddress(writeAddress('', state), NOW)).toEqual(state);
  const byType: PageState = { ...state, colourBy: 'type' };
  expect(readAddress(writeAddress('', byType), NOW)).toEqual(byType);
  const compared: PageState = {
    ...state,
    b: { expression: `${TYPE}{job="b"}`, time: { kind: 'relative', unit: 'hour', count: 3 }, sumBy: [], selection: null },
    absolute: true,
  };
  expect(readAddress(writeAddress('', compared), NOW)).toEqual(compared);
});

test('an address of Parca', () => {
  const state = readAddress(
    `?expression_a=${encodeURIComponent(`${TYPE}{}`)}&from_a=1&to_a=2&time_selection_a=${encodeURIComponent('relative:hour|3')}` +
      '&sum_by_a=__none__&merge_from_a=1700000100000000000&merge_to_a=1700000110000000000&dashboard_items=flamegraph,sandwich&color_by=filename',
    NOW,
  );
  expect(state.a.time).toEqual({ kind: 'relative', unit: 'hour', count: 3 });
  expect(state.a.sumBy).toEqual([]);
  expect(state.a.selection).toEqual({ from: 1_700_000_100_000, to: 1_700_000_110_000, query: null });
  expect(state.panels).toEqual(['flamegraph']);
  expect(state.colourBy).toBe('function');
});

test('a comparison of Parca', () => {
  const state = readAddress(
    `?compare_a=true&compare_b=true&expression_a=${encodeURIComponent(`${TYPE}{}`)}&time_selection_a=${encodeURIComponent('relative:minute|5')}` +
      '&merge_from_b=1700000100000000000&merge_to_b=1700000110000000000&compare_absolute=false',
    NOW,
  );
  expect(state.a.time).toEqual({ kind: 'relative', unit: 'minute', count: 5 });
  // B inherits the selector, and has its own time.
  expect(state.b?.expression).toBe(`${TYPE}{}`);
  expect(state.b?.selection).toEqual({ from: 1_700_000_100_000, to: 1_700_000_110_000, query: null });
  expect(state.absolute).toBe(false);
  expect(readAddress('?compare_absolute=true', NOW).absolute).toBeNull();
});

test('the end of a comparison takes its parameters away', () => {
  const written = writeAddress('?compare_a=true&compare_b=true&expression_b=x&merge_from_b=1&merge_to_b=2&compare_absolute=true', DEFAULT_STATE);
  expect(written).toBe('');
});

test('parameters of others are kept', () => {
  const written = writeAddress('?sandwich_function_name=x&group_by=labels.job&search_string=old', { ...DEFAULT_STATE, search: 'new' });
  const q = new URLSearchParams(written);
  expect(q.get('sandwich_function_name')).toBe('x');
  expect(q.get('group_by')).toBe('labels.job');
  expect(q.getAll('search_string')).toEqual(['new']);
});

test('nonsense falls back to the default', () => {
  const state = readAddress('?time_selection_a=relative:eon|3&from_a=9&to_a=3&merge_from_a=-1&merge_to_a=x&dashboard_items=,&sum_by_a=', NOW);
  expect(state).toEqual(DEFAULT_STATE);
});

test('filters in the address and in the request', () => {
  const text = encodeFilters([
    { scope: 's', field: 'fn', test: '~', value: 'a,b%c' },
    { scope: 'f', field: 'b', test: '!=', value: 'libc.so.6' },
  ]);
  expect(text).toBe('s:fn:~:a%2Cb%25c,f:b:!=:libc.so.6');
  const filters = decodeFilters(`${text},p:hide_libc:enabled,s:fn:?:x,s:fn:=:%`);
  expect(filters).toHaveLength(2);
  expect(filters.map(wireFilter)).toEqual([
    { stackFilter: { criteria: { functionName: { contains: 'a,b%c' } } } },
    { frameFilter: { criteria: { binary: { notEqual: 'libc.so.6' } } } },
  ]);
});
