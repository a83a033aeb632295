/**
 * The page's state and what follows from it. The address holds what a reader would share; here it
 * becomes requests, and their answers become what the views draw. Views change state only through
 * the functions below.
 */
import { batch, computed, effect, signal } from '@preact/signals';
import { PATH_PREFIX } from '../api/fetch';
import {
  fetchFlame, fetchSeries, fetchTable, fetchTypes,
  type FlameReport, type ReportRequest, type Series, type TableReport,
} from '../api/reports';
import type { ProfileType } from '../api/wire';
import { parseTypeKey, preferredType, typeKey } from '../profile-type';
import { formatSelector, parseSelector, withMatcher, type Selector } from '../selector';
import { lastSnapshot } from '../series-data';
import { rangeOf, stepFor, type TimeRange } from '../time';
import { readAddress, writeAddress, type PageState } from './address';
import { decodeFilters, wireFilter } from './filters';
import { Loader } from './resource';

/** Points of the series graph at most; each is a bucket that the server sums. */
const SERIES_POINTS = 180;

const REMEMBERED_TYPE = 'decima.type';
const remember = (key: string, value: string): void => {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage may be forbidden; then nothing is remembered.
  }
};
const recall = (key: string): string => {
  try {
    return localStorage.getItem(key) ?? '';
  } catch {
    return '';
  }
};

export type Route = 'explore' | 'targets' | 'missing';

function routeOf(path: string): Route {
  const local = (path.startsWith(PATH_PREFIX) ? path.slice(PATH_PREFIX.length) : path).replace(/\/+$/, '');
  if (local === '' || local === '/index.html') return 'explore';
  return local === '/targets' ? 'targets' : 'missing';
}

export const route = signal<Route>(routeOf(location.pathname));
/** "Now" of relative ranges; moved by {@link refresh}, so that all graphs show the same time. */
export const now = signal(Date.now());
export const page = signal<PageState>(readAddress(location.search, now.peek()));

/** True while the type in use is a guess from the last visit, made so as not to wait for the list of types. */
let guessed = false;
if (page.peek().expression === '') {
  const last = recall(REMEMBERED_TYPE);
  if (parseTypeKey(last)) {
    guessed = true;
    page.value = { ...page.peek(), expression: formatSelector({ type: last, matchers: '' }) };
  }
}

function writeHistory(mode: 'push' | 'replace'): void {
  if (route.peek() !== 'explore') return;
  const target = `${location.pathname}${writeAddress(location.search, page.peek())}`;
  if (target === `${location.pathname}${location.search}`) return;
  if (mode === 'push') history.pushState(null, '', target);
  else history.replaceState(null, '', target);
}

/** Changes the page's state and the address with it. `replace` leaves no step for the back button. */
export function change(patch: Partial<PageState>, mode: 'push' | 'replace' = 'push'): void {
  page.value = { ...page.peek(), ...patch };
  writeHistory(mode);
}

/** Opens another view of the page. */
export function go(to: Exclude<Route, 'missing'>): void {
  const query = to === 'explore' ? writeAddress('', page.peek()) : '';
  history.pushState(null, '', `${PATH_PREFIX}/${to === 'explore' ? '' : to}${query}`);
  route.value = to;
}

window.addEventListener('popstate', () => {
  batch(() => {
    route.value = routeOf(location.pathname);
    if (route.peek() !== 'explore') return;
    const next = readAddress(location.search, now.peek());
    page.value = next.expression === '' ? { ...next, expression: page.peek().expression } : next;
  });
});

// ── What follows from the state ──────────────────────────────────────────────────────────────

export const range = computed<TimeRange>(() => rangeOf(page.value.time, now.value));
export const selector = computed<Selector | null>(() => parseSelector(page.value.expression));
export const profileType = computed<ProfileType | null>(() => parseTypeKey(selector.value?.type ?? ''));
export const filters = computed(() => decodeFilters(page.value.filters));
export const stepS = computed(() => stepFor(range.value, SERIES_POINTS));

interface SeriesKey extends TimeRange {
  query: string;
  stepS: number;
  sumBy: string[];
}

export const types = new Loader<ProfileType[]>((key, abort) => fetchTypes(JSON.parse(key) as TimeRange, abort));
export const series = new Loader<Series[]>((key, abort) => {
  const { query, stepS: step, sumBy, ...span } = JSON.parse(key) as SeriesKey;
  return fetchSeries(query, span, step, sumBy, abort);
});
export const flame = new Loader<FlameReport | null>(async (key, abort) => {
  const request = JSON.parse(key) as ReportRequest;
  const report = await fetchFlame(request, null, abort);
  return report && { ...report, unit: report.unit || unitOf(request) };
});
export const table = new Loader<TableReport>(async (key, abort) => {
  const request = JSON.parse(key) as ReportRequest;
  const report = await fetchTable(request, abort);
  return { ...report, unit: report.unit || unitOf(request) };
});

/** The unit by the type's own spelling, for a report that does not say. */
const unitOf = ({ query }: ReportRequest): string => parseTypeKey(parseSelector(query)?.type ?? '')?.sampleUnit ?? '';

const seriesKey = computed(() => {
  if (!selector.value) return '';
  const key: SeriesKey = {
    query: page.value.expression,
    ...range.value,
    stepS: stepS.value,
    sumBy: profileType.value?.delta === false ? [] : page.value.sumBy,
  };
  return JSON.stringify(key);
});

/** What the reports are of; null while that is not known yet. */
export const merged = computed<(TimeRange & { query: string }) | null>(() => {
  const { expression, selection } = page.value;
  if (!selector.value) return null;
  if (selection) return { from: selection.from, to: selection.to, query: selection.query ?? expression };
  if (profileType.value?.delta !== false) return { ...range.value, query: expression };
  const { data, key } = series.state.value;
  if (!data || key !== seriesKey.value) return null;
  const snapshot = lastSnapshot(data, stepS.value);
  return snapshot && { ...snapshot, query: expression };
});

export const reportRequest = computed<ReportRequest | null>(
  () => merged.value && { ...merged.value, invert: page.value.invert, filters: filters.value.map(wireFilter) },
);
const reportKey = computed(() => (reportRequest.value ? JSON.stringify(reportRequest.value) : ''));

const typesKey = computed(() => JSON.stringify(range.value));

/** True where the chosen type has nothing to show here, and it is known. */
export const nothingHere = computed(() => {
  const s = series.state.value;
  const f = flame.state.value;
  if (types.state.value.data?.length === 0 && !page.value.expression) return true;
  if (s.loading || s.error || s.key !== seriesKey.value || !s.data) return false;
  if (s.data.length > 0) return false;
  return !f.loading && !f.error && !f.data;
});

/** Starts loading; called once. All requests of a state go out together. */
export function start(): void {
  effect(() => {
    if (route.value === 'explore') types.load(typesKey.value);
  });
  effect(() => {
    const key = seriesKey.value;
    if (route.value === 'explore' && key) series.load(key);
  });
  effect(() => {
    const key = reportKey.value;
    if (route.value !== 'explore') return;
    if (key) flame.load(key);
    else flame.clear();
  });
  effect(() => {
    const key = reportKey.value;
    if (route.value === 'explore' && key && page.value.panels.includes('table')) table.load(key);
  });
  effect(() => {
    const { data } = types.state.value;
    if (!data || data.length === 0) return;
    const current = selector.peek()?.type ?? '';
    const known = data.some((type) => typeKey(type) === current);
    if (current !== '' && (known || !guessed)) {
      guessed = false;
      writeHistory('replace');
      return;
    }
    guessed = false;
    const best = preferredType(data);
    if (best) change({ expression: formatSelector({ type: typeKey(best), matchers: '' }) }, 'replace');
  });
  effect(() => {
    const key = selector.value?.type ?? '';
    if (!guessed && parseTypeKey(key)) remember(REMEMBERED_TYPE, key);
  });
}

// ── What the views do ────────────────────────────────────────────────────────────────────────

/** Moves relative ranges to the present and asks again. */
export function refresh(): void {
  const before = typesKey.peek();
  now.value = Date.now();
  if (typesKey.peek() !== before) return;
  types.load(typesKey.peek(), true);
  if (seriesKey.peek()) series.load(seriesKey.peek(), true);
  if (reportKey.peek()) {
    flame.load(reportKey.peek(), true);
    if (page.peek().panels.includes('table')) table.load(reportKey.peek(), true);
  }
}

export function chooseType(type: ProfileType): void {
  guessed = false;
  change({
    expression: formatSelector({ type: typeKey(type), matchers: selector.peek()?.matchers ?? '' }),
    selection: null,
    path: '',
  });
}

/** Applies matchers as typed, and asks again even where they did not change. */
export function applyMatchers(matchers: string): void {
  const type = selector.peek()?.type;
  if (!type) return;
  const expression = formatSelector({ type, matchers });
  if (expression === page.peek().expression) refresh();
  else {
    now.value = Date.now();
    change({ expression, selection: null });
  }
}

export function addMatcher(name: string, value: string, operator: '=' | '!=' = '='): void {
  const current = selector.peek();
  if (current) applyMatchers(withMatcher(current.matchers, { name, value }, operator));
}

export function chooseTime(time: PageState['time']): void {
  now.value = Date.now();
  change({ time, selection: null });
}

/** The reports show `selection` only; null shows the whole range again. */
export function select(selection: PageState['selection']): void {
  change({ selection });
}
