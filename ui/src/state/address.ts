/**
 * The address bar: the page's whole state under Parca's parameter names, so that links to either
 * page open on the other. Parameters that this page does not know are kept as they are.
 */
import { decodeTime, DEFAULT_TIME, encodeTime, rangeOf, type TimeSelection } from '../time';

export type Panel = 'flamegraph' | 'table';
export const COLOUR_BY = ['function', 'binary', 'type'] as const;
export type ColourBy = (typeof COLOUR_BY)[number];

/** A narrowed part of the series: what the graphs below show instead of the whole range. */
export interface Selection {
  /** Milliseconds. */
  from: number;
  to: number;
  /** The selector, where it is narrower than the page's. */
  query: string | null;
}

/** One thing to look at; a comparison has two. */
export interface SideState {
  /** Selector; empty until a type is chosen. */
  expression: string;
  time: TimeSelection;
  sumBy: string[];
  selection: Selection | null;
}

export interface PageState {
  /** What is shown; in a comparison, the base. */
  a: SideState;
  /** What is compared with the base; null where nothing is. */
  b: SideState | null;
  /** Compare values as they are; null follows from the profile type. */
  absolute: boolean | null;
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

export const DEFAULT_SIDE: SideState = { expression: '', time: DEFAULT_TIME, sumBy: [], selection: null };

export const DEFAULT_STATE: PageState = {
  a: DEFAULT_SIDE,
  b: null,
  absolute: null,
  panels: ['flamegraph'],
  colourBy: 'function',
  invert: false,
  path: '',
  search: '',
  regex: false,
  pinned: '',
  filters: '',
};

const OF_SIDE = ['expression', 'from', 'to', 'time_selection', 'sum_by', 'merge_from', 'merge_to', 'selection', 'compare'];
const OWN = [
  ...OF_SIDE.flatMap((name) => [`${name}_a`, `${name}_b`]),
  'compare_absolute', 'dashboard_items', 'color_by', 'invert_call_stack', 'cur_path', 'search_string', 'search_regex', 'pinned_function',
  'profile_filters',
];

const NS_PER_MS = 1_000_000n;

function milliseconds(nanoseconds: string | null): number | null {
  return nanoseconds && /^\d{1,19}$/.test(nanoseconds) ? Number(BigInt(nanoseconds) / NS_PER_MS) : null;
}

const nanoseconds = (time: number): string => String(BigInt(Math.round(time)) * NS_PER_MS);

/** A side's parameters by their names without the suffix. */
type SideParameters = (name: string) => string | null;

function readTime(get: SideParameters, now: number): TimeSelection {
  const spelled = decodeTime(get('time_selection') ?? '', now);
  if (spelled) return spelled;
  const from = Number(get('from'));
  const to = Number(get('to'));
  return from > 0 && to > from ? { kind: 'absolute', from, to } : DEFAULT_TIME;
}

function readSelection(get: SideParameters, expression: string, time: TimeSelection, now: number): Selection | null {
  const from = milliseconds(get('merge_from'));
  const to = milliseconds(get('merge_to'));
  const query = get('selection');
  const narrower = query !== null && query !== '' && query !== expression ? query : null;
  if (from === null || to === null || to < from) {
    if (narrower === null) return null;
    const range = rangeOf(time, now);
    return { ...range, query: narrower };
  }
  return { from, to, query: narrower };
}

function readSide(get: SideParameters, now: number, otherwise: SideState): SideState {
  const expression = get('expression') || otherwise.expression;
  const time = readTime(get, now);
  const sumBy = get('sum_by');
  return {
    expression,
    time,
    sumBy: !sumBy || sumBy === '__none__' ? [] : sumBy.split(',').filter((name) => name !== ''),
    selection: readSelection(get, expression, time, now),
  };
}

/** Reads the address. `now` is for ranges that end at "now". */
export function readAddress(search: string, now: number): PageState {
  const q = new URLSearchParams(search);
  const panels = (q.get('dashboard_items') ?? '')
    .split(',')
    .filter((item): item is Panel => item === 'flamegraph' || item === 'table');
  const a = readSide((name) => q.get(`${name}_a`), now, DEFAULT_SIDE);
  const compares = q.get('compare_a') === 'true' || q.get('compare_b') === 'true';
  const absolute = q.get('compare_absolute');
  return {
    a,
    b: compares ? readSide((name) => q.get(`${name}_b`), now, a) : null,
    absolute: compares && (absolute === 'true' || absolute === 'false') ? absolute === 'true' : null,
    panels: panels.length > 0 ? [...new Set(panels)] : DEFAULT_STATE.panels,
    colourBy: COLOUR_BY.find((by) => by === q.get('color_by')) ?? 'function',
    invert: q.get('invert_call_stack') === 'true',
    path: q.get('cur_path') ?? '',
    search: q.get('search_string') ?? '',
    regex: q.get('search_regex') === 'true',
    pinned: q.get('pinned_function') ?? '',
    filters: q.get('profile_filters') ?? '',
  };
}

function writeSide(set: (name: string, value: string) => void, side: SideState): void {
  set('expression', side.expression);
  if (side.time.kind === 'absolute') {
    set('from', String(side.time.from));
    set('to', String(side.time.to));
  }
  if (side.expression) set('time_selection', encodeTime(side.time));
  set('sum_by', side.sumBy.join(','));
  if (!side.selection) return;
  set('merge_from', nanoseconds(side.selection.from));
  set('merge_to', nanoseconds(side.selection.to));
  set('selection', side.selection.query ?? '');
}

/** Writes the address: `current` with this page's parameters replaced. What is default is left out. */
export function writeAddress(current: string, state: PageState): string {
  const q = new URLSearchParams(current);
  for (const name of OWN) q.delete(name);
  const set = (name: string, value: string): void => {
    if (value !== '') q.set(name, value);
  };
  writeSide((name, value) => set(`${name}_a`, value), state.a);
  if (state.b) {
    writeSide((name, value) => set(`${name}_b`, value), state.b);
    set('compare_a', 'true');
    set('compare_b', 'true');
    if (state.absolute !== null) set('compare_absolute', String(state.absolute));
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
