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
    expression: `${TYPE}{job="a b&c"}`,
    time: { kind: 'absolute', from: 1_700_000_000_000, to: 1_700_000_900_000 },
    sumBy: ['job', 'region'],
    selection: { from: 1_700_000_100_000, to: 1_700_000_110_000, query: `${TYPE}{job="x"}` },
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
});

test('an address of Parca', () => {
  const state = readAddress(
    `?expression_a=${encodeURIComponent(`${TYPE}{}`)}&from_a=1&to_a=2&time_selection_a=${encodeURIComponent('relative:hour|3')}` +
      '&sum_by_a=__none__&merge_from_a=1700000100000000000&merge_to_a=1700000110000000000&dashboard_items=flamegraph,sandwich&color_by=filename',
    NOW,
  );
  expect(state.time).toEqual({ kind: 'relative', unit: 'hour', count: 3 });
  expect(state.sumBy).toEqual([]);
  expect(state.selection).toEqual({ from: 1_700_000_100_000, to: 1_700_000_110_000, query: null });
  expect(state.panels).toEqual(['flamegraph']);
  expect(state.colourBy).toBe('function');
});

test('parameters of others are kept', () => {
  const written = writeAddress('?compare_a=true&group_by=labels.job&search_string=old', { ...DEFAULT_STATE, search: 'new' });
  const q = new URLSearchParams(written);
  expect(q.get('compare_a')).toBe('true');
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
