/**
 * The address bar: the page's whole state under Parca's parameter names, so that links to either
 * page open on the other. Parameters that this page does not know are kept as they are.
 */
import { decodeTime, DEFAULT_TIME, encodeTime, rangeOf, type TimeSelection } from '../time';

export type Panel = 'flamegraph' | 'table';
export type ColourBy = 'function' | 'binary';

/** A narrowed part of the series: what the graphs below show instead of the whole range. */
export interface Selection {
  /** Milliseconds. */
  from: number;
  to: number;
  /** The selector, where it is narrower than the page's. */
  query: string | null;
}

export interface PageState {
  /** Selector; empty until a type is chosen. */
  expression: string;
  time: TimeSelection;
  sumBy: string[];
  selection: Selection | null;
  panels: Panel[];
  colourBy: ColourBy;
  invert: boolean;
  /** `cur_path` as it is written. */
  path: string;
  search: string;
  regex: boolean;
  /** A function kept in view in graph and table; empty for none. */
  pinned: string;
  /** `profile_filters` as it is written. */
  filters: string;
}

export const DEFAULT_STATE: PageState = {
  expression: '',
  time: DEFAULT_TIME,
  sumBy: [],
  selection: null,
  panels: ['flamegraph'],
  colourBy: 'function',
  invert: false,
  path: '',
  search: '',
  regex: false,
  pinned: '',
  filters: '',
};

const OWN = [
  'expression_a', 'from_a', 'to_a', 'time_selection_a', 'sum_by_a', 'merge_from_a', 'merge_to_a', 'selection_a',
  'dashboard_items', 'color_by', 'invert_call_stack', 'cur_path', 'search_string', 'search_regex', 'pinned_function',
  'profile_filters',
];

const NS_PER_MS = 1_000_000n;

function milliseconds(nanoseconds: string | null): number | null {
  return nanoseconds && /^\d{1,19}$/.test(nanoseconds) ? Number(BigInt(nanoseconds) / NS_PER_MS) : null;
}

const nanoseconds = (time: number): string => String(BigInt(Math.round(time)) * NS_PER_MS);

function readTime(q: URLSearchParams, now: number): TimeSelection {
  const spelled = decodeTime(q.get('time_selection_a') ?? '', now);
  if (spelled) return spelled;
  const from = Number(q.get('from_a'));
  const to = Number(q.get('to_a'));
  return from > 0 && to > from ? { kind: 'absolute', from, to } : DEFAULT_TIME;
}

function readSelection(q: URLSearchParams, expression: string, time: TimeSelection, now: number): Selection | null {
  const from = milliseconds(q.get('merge_from_a'));
  const to = milliseconds(q.get('merge_to_a'));
  const query = q.get('selection_a');
  const narrower = query !== null && query !== '' && query !== expression ? query : null;
  if (from === null || to === null || to < from) {
    if (narrower === null) return null;
    const range = rangeOf(time, now);
    return { ...range, query: narrower };
  }
  return { from, to, query: narrower };
}

/** Reads the address. `now` is for ranges that end at "now". */
export function readAddress(search: string, now: number): PageState {
  const q = new URLSearchParams(search);
  const expression = q.get('expression_a') ?? '';
  const time = readTime(q, now);
  const panels = (q.get('dashboard_items') ?? '')
    .split(',')
    .filter((item): item is Panel => item === 'flamegraph' || item === 'table');
  const sumBy = q.get('sum_by_a');
  return {
    expression,
    time,
    sumBy: !sumBy || sumBy === '__none__' ? [] : sumBy.split(',').filter((name) => name !== ''),
    selection: readSelection(q, expression, time, now),
    panels: panels.length > 0 ? [...new Set(panels)] : DEFAULT_STATE.panels,
    colourBy: q.get('color_by') === 'binary' ? 'binary' : 'function',
    invert: q.get('invert_call_stack') === 'true',
    path: q.get('cur_path') ?? '',
    search: q.get('search_string') ?? '',
    regex: q.get('search_regex') === 'true',
    pinned: q.get('pinned_function') ?? '',
    filters: q.get('profile_filters') ?? '',
  };
}

/** Writes the address: `current` with this page's parameters replaced. What is default is left out. */
export function writeAddress(current: string, state: PageState): string {
  const q = new URLSearchParams(current);
  for (const name of OWN) q.delete(name);
  const set = (name: string, value: string): void => {
    if (value !== '') q.set(name, value);
  };
  set('expression_a', state.expression);
  if (state.time.kind === 'absolute') {
    set('from_a', String(state.time.from));
    set('to_a', String(state.time.to));
  }
  if (state.expression) set('time_selection_a', encodeTime(state.time));
  set('sum_by_a', state.sumBy.join(','));
  if (state.selection) {
    set('merge_from_a', nanoseconds(state.selection.from));
    set('merge_to_a', nanoseconds(state.selection.to));
    set('selection_a', state.selection.query ?? '');
  }
  if (state.panels.join() !== DEFAULT_STATE.panels.join()) set('dashboard_items', state.panels.join(','));
  if (state.colourBy !== DEFAULT_STATE.colourBy) set('color_by', state.colourBy);
  if (state.invert) set('invert_call_stack', 'true');
  set('cur_path', state.path);
  set('search_string', state.search);
  if (state.regex && state.search) set('search_regex', 'true');
  set('pinned_function', state.pinned);
  set('profile_filters', state.filters);
  const text = q.toString();
  return text ? `?${text}` : '';
}
