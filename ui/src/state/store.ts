/**
 * The page's state and what follows from it. The address holds what a reader would share; here it
 * becomes requests, and their answers become what the views draw. Views change state only through
 * the functions below.
 */
import { batch, computed, effect, signal } from '@preact/signals';
import { FORWARDS, PATH_PREFIX } from '../api/fetch';
import { fetchFlame, fetchTable, fetchTypes, type FlameReport, type ReportRequest, type TableReport } from '../api/reports';
import type { ProfileType } from '../api/wire';
import { parseTypeKey, preferredType, typeKey } from '../profile-type';
import { formatSelector, matchersOf, parseSelector } from '../selector';
import type { TimeRange } from '../time';
import { DEFAULT_SIDE, readAddress, writeAddress, type PageState, type SideState } from './address';
import { decodeFilters, wireFilter } from './filters';
import { initialSides } from './compare';
import { Loader } from './resource';
import { Side } from './side';

const REMEMBERED_TYPE = 'decima.type';
/** Set where the remembered type was the reader's choice. */
const REMEMBERED_CHOICE = 'decima.type.chosen';
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

const withExpression = (state: PageState, expression: string): PageState => ({ ...state, a: { ...state.a, expression } });

/** The type in use was not chosen by the reader: the page may choose a better one when there is one. */
let ours = (history.state as { ours?: boolean } | null)?.ours === true;
/** The type in use is that of the last visit, taken so as not to wait for the list of types. */
let guessed = false;
if (page.peek().a.expression === '') {
  ours = true;
  const last = recall(REMEMBERED_TYPE);
  if (parseTypeKey(last)) {
    guessed = true;
    ours = recall(REMEMBERED_CHOICE) === '';
    page.value = withExpression(page.peek(), formatSelector({ type: last, matchers: '' }));
  }
}

function writeHistory(mode: 'push' | 'replace'): void {
  if (route.peek() !== 'explore') return;
  const target = `${location.pathname}${writeAddress(location.search, page.peek())}`;
  if (target === `${location.pathname}${location.search}`) return;
  if (mode === 'push') history.pushState({ ours }, '', target);
  else history.replaceState({ ours }, '', target);
}

/** True where a change shows that the reader works with what is there. How it is shown is no such change. */
function takesOver(patch: Partial<PageState>): boolean {
  const { a } = page.peek();
  if (patch.a && (patch.a.expression !== a.expression || patch.a.selection !== a.selection)) return true;
  return [patch.b, patch.path, patch.search, patch.pinned, patch.filters].some((value) => value !== undefined && value !== null && value !== '');
}

/** Changes the page's state and the address with it. `replace` leaves no step for the back button. */
export function change(patch: Partial<PageState>, mode: 'push' | 'replace' = 'push'): void {
  if (takesOver(patch)) {
    ours = false;
    guessed = false;
  }
  page.value = { ...page.peek(), ...patch };
  writeHistory(mode);
}

/** Opens another view of the page. */
export function go(to: Exclude<Route, 'missing'>): void {
  const query = to === 'explore' ? writeAddress('', page.peek()) : '';
  history.pushState({ ours }, '', `${PATH_PREFIX}/${to === 'explore' ? '' : to}${query}`);
  route.value = to;
}

window.addEventListener('popstate', () => {
  batch(() => {
    route.value = routeOf(location.pathname);
    if (route.peek() !== 'explore') return;
    ours = (history.state as { ours?: boolean } | null)?.ours === true;
    const next = readAddress(location.search, now.peek());
    page.value = next.a.expression === '' ? withExpression(next, page.peek().a.expression) : next;
  });
});

// ── What follows from the state ──────────────────────────────────────────────────────────────

export const filters = computed(() => decodeFilters(page.value.filters));
export const comparing = computed(() => page.value.b !== null);

/** Both sides of a comparison are of one type: a new one on one side is taken over by the other. */
function patchSide(id: 'a' | 'b', patch: Partial<SideState>): void {
  const { a, b } = page.peek();
  const old = (id === 'a' ? a : b) ?? DEFAULT_SIDE;
  const next = { ...old, ...patch };
  const type = parseSelector(next.expression)?.type ?? '';
  if (type === parseSelector(old.expression)?.type) {
    change({ [id]: next });
    return;
  }
  const retyped = (side: SideState): SideState => ({
    ...side,
    expression: formatSelector({ type, matchers: parseSelector(side.expression)?.matchers ?? '' }),
    selection: side.selection && { ...side.selection, query: null },
  });
  const other = b ? { [id === 'a' ? 'b' : 'a']: retyped(id === 'a' ? b : a) } : {};
  change({ [id]: next, ...other, path: '' });
}

/** What is shown, or the base of a comparison. */
export const sideA = new Side('a', computed(() => page.value.a), now, { change: (patch) => patchSide('a', patch), refresh: () => refresh() });
/** What is compared with the base; has no selector where nothing is. */
export const sideB = new Side('b', computed(() => page.value.b ?? DEFAULT_SIDE), now, { change: (patch) => patchSide('b', patch), refresh: () => refresh() });
const SIDES = [sideA, sideB];

/** The type that the reports are of. */
export const profileType = computed(() => (comparing.value ? sideB : sideA).profileType.value);

export const types = new Loader<ProfileType[]>((key, abort) => fetchTypes(JSON.parse(key) as TimeRange, abort));
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
const unitOf = ({ of }: ReportRequest): string => parseTypeKey(parseSelector(of.query)?.type ?? '')?.sampleUnit ?? '';

/** Whether a comparison is of values as they are: states are, amounts of unequal times are not. */
export const absolute = computed(() => page.value.absolute ?? profileType.value?.delta === false);

const invert = computed(() => page.value.invert);
export const reportRequest = computed<ReportRequest | null>(() => {
  const of = (comparing.value ? sideB : sideA).merged.value;
  const base = comparing.value ? sideA.merged.value : null;
  if (!of || (comparing.value && !base)) return null;
  return { of, base, absolute: base !== null && absolute.value, invert: invert.value, filters: filters.value.map(wireFilter) };
});
const reportKey = computed(() => (reportRequest.value ? JSON.stringify(reportRequest.value) : ''));

const typesKey = computed(() => {
  const a = sideA.range.value;
  if (!comparing.value) return JSON.stringify(a);
  const b = sideB.range.value;
  return JSON.stringify({ from: Math.min(a.from, b.from), to: Math.max(a.to, b.to) });
});

/** True where the chosen type has nothing to show here, and it is known. */
export const nothingHere = computed(() => {
  if (comparing.value) return false;
  if (types.state.value.data?.length === 0 && page.value.a.expression === '') return true;
  const { loading, error, data } = flame.state.value;
  return sideA.isEmpty && !loading && error === '' && !data;
});

let firstReport: () => void = () => undefined;
/** Fulfilled once a report has been asked for, or it is known that there is none to ask for. */
export const reportAsked = new Promise<void>((done) => {
  firstReport = done;
});

/** Starts loading; called once. All requests of a state go out together. */
export function start(): void {
  if (FORWARDS) {
    firstReport();
    return;
  }
  effect(() => {
    const key = reportKey.value;
    if (route.value !== 'explore') return;
    if (key) {
      flame.load(key);
      firstReport();
    } else flame.clear();
  });
  for (const side of SIDES) {
    effect(() => {
      const key = side.seriesKey.value;
      if (route.value === 'explore' && key) side.series.load(key);
    });
  }
  effect(() => {
    const key = reportKey.value;
    if (route.value === 'explore' && key && page.value.panels.includes('table')) table.load(key);
  });
  effect(() => {
    if (route.value === 'explore') types.load(typesKey.value);
  });
  effect(() => {
    const { data, error } = types.state.value;
    if (data) chooseAmong(data);
    if (data?.length === 0 || error !== '' || route.value !== 'explore') firstReport();
  });
  effect(() => {
    const key = sideA.selector.value?.type ?? '';
    if (guessed || !parseTypeKey(key)) return;
    remember(REMEMBERED_TYPE, key);
    remember(REMEMBERED_CHOICE, ours ? '' : 'yes');
  });
}

/** The list of types has come: keeps the reader's choice, and otherwise takes the most useful type there is. */
function chooseAmong(data: readonly ProfileType[]): void {
  if (data.length === 0) return;
  const { expression } = sideA.state.peek();
  const selector = sideA.selector.peek();
  const current = selector?.type ?? '';
  const known = data.some((type) => typeKey(type) === current);
  const keep = current !== '' && !ours && (known || !guessed);
  guessed = false;
  const best = keep ? null : preferredType(data);
  if (best && typeKey(best) !== current) {
    ours = true;
    page.value = { ...withExpression(page.peek(), formatSelector({ type: typeKey(best), matchers: selector ? '' : matchersOf(expression) })), path: '' };
  }
  writeHistory('replace');
}

/** The page chose the type in use by itself. */
export const typeIsOurs = (): boolean => ours;

// ── What the views do ────────────────────────────────────────────────────────────────────────

/** Moves relative ranges to the present and asks again. */
export function refresh(): void {
  const before = typesKey.peek();
  now.value = Date.now();
  if (typesKey.peek() !== before) return;
  types.load(typesKey.peek(), true);
  for (const side of SIDES) if (side.seriesKey.peek()) side.series.load(side.seriesKey.peek(), true);
  if (reportKey.peek()) {
    flame.load(reportKey.peek(), true);
    if (page.peek().panels.includes('table')) table.load(reportKey.peek(), true);
  }
}

/** Compares two parts of what is shown; which, the reader then changes. */
export function compare(): void {
  const { a } = page.peek();
  const sides = initialSides(a, sideA.range.peek(), sideA.profileType.peek()?.delta !== false, sideA.series.state.peek().data ?? []);
  change({ ...sides, path: '' });
}

/** Ends the comparison and shows one of its sides. */
export function keepOnly(id: 'a' | 'b'): void {
  const { a, b } = page.peek();
  change({ a: id === 'b' && b ? b : a, b: null, absolute: null, path: '' });
}

/** Makes the base what is compared with it, and the other way round. */
export function swapSides(): void {
  const { a, b } = page.peek();
  if (b) change({ a: b, b: a });
}
