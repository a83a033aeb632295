/**
 * Where in the flame graph the reader is, and the detail that is fetched for it. The address
 * holds a path; the row follows from it whenever the tree changes. A report is trimmed by the
 * server: zooming asks for the subtree again with the whole node budget to itself, and what
 * comes is grafted into the tree in place.
 */
import { computed, effect, signal, untracked } from '@preact/signals';
import { fetchFlame, type Detail, type FlameReport, type ReportRequest } from '../api/reports';
import { isAbort } from '../api/fetch';
import { decodePath, encodePath, pathNames, pathOf, resolvePath } from '../flame/path';
import { graft, type FlameTree } from '../flame/tree';
import { compileSearch, coverage, matchSymbols, rowsNamed, rowsOf, type RowSet } from '../flame/search';
import { change, flame, page, reportRequest } from './store';

/** Half a pixel of a wide screen, as share of the zoomed node. */
const DETAIL_TRIM_SHARE = 0.0005;
/** Threshold of a detail whose share is not known yet, in percent. */
const UNKNOWN_TRIM_PERCENT = 0.005;
/** Node budgets asked for, one after the other, where a node stays trimmed. */
const BUDGETS = [undefined, 65_536, 262_144] as const;

export const tree = computed<FlameTree | null>(() => flame.state.value.data?.tree ?? null);
const path = computed(() => page.value.path);
/** The zoomed node; 0 shows the whole. */
export const focusRow = computed(() => (tree.value ? resolvePath(tree.value, decodePath(path.value)).row : 0));
/** A subtree is on its way. */
export const detailLoading = signal(false);

/** Requests for detail of one report, by path; their index in {@link BUDGETS} is how far we went. */
let details = { of: -1, asked: new Map<string, Promise<FlameReport | null>>(), budget: new Map<string, number>() };
let reloadedFor = '';

function currentDetails(): typeof details {
  if (details.of !== flame.generation) details = { of: flame.generation, asked: new Map(), budget: new Map() };
  return details;
}

function ask(request: ReportRequest, path: string[], budget: number, trimPercent: number): Promise<FlameReport | null> {
  const id = `${budget} ${JSON.stringify(path)}`;
  const { asked } = currentDetails();
  let answer = asked.get(id);
  if (!answer) {
    const detail: Detail = { focus: path, maxNodes: BUDGETS[budget], trimPercent };
    answer = fetchFlame(request, detail);
    asked.set(id, answer);
  }
  return answer;
}

/** Fetches what is cut off below `row`. Says false where there is nothing more to ask for. */
function loadDetail(row: number, budget: number): boolean {
  const { key, data } = flame.state.peek();
  const request = reportRequest.peek();
  const whole = data?.tree;
  if (!whole || !request || budget >= BUDGETS.length) return false;
  const path = pathOf(whole, row);
  const name = JSON.stringify(path);
  const known = currentDetails();
  if ((known.budget.get(name) ?? -1) >= budget) return false;
  known.budget.set(name, budget);
  const share = whole.cumulative[row] / whole.cumulative[0];
  detailLoading.value = true;
  ask(request, path, budget, budget > 0 ? 0 : share * DETAIL_TRIM_SHARE * 100).then(
    (report) => {
      detailLoading.value = false;
      if (report) install(key, path, report);
    },
    (cause: unknown) => {
      detailLoading.value = false;
      // The trimmed picture stays; it says itself that it is trimmed, and another zoom asks again.
      if (!isAbort(cause)) known.budget.delete(name);
    },
  );
  return true;
}

function install(key: string, path: string[], report: FlameReport): void {
  const { data, key: shown } = flame.state.peek();
  if (!data?.tree || !report.tree || shown !== key) return;
  const steps = path.map((name) => ({ name }));
  const here = resolvePath(data.tree, steps);
  const there = resolvePath(report.tree, steps);
  if (here.steps < path.length || there.steps < path.length) return;
  const next = here.row === 0 ? (there.row === 0 ? report.tree : null) : graft(data.tree, here.row, report.tree, there.row);
  if (next && (here.row > 0 || next.cumulative[0] === data.tree.cumulative[0])) {
    flame.replace(key, { ...data, tree: next });
  } else if (reloadedFor !== key) {
    // Profiles arrived in between: the whole is out of date as well.
    reloadedFor = key;
    flame.load(key, true);
  }
}

/** Zooms to `row`; row 0 shows the whole. */
export function zoomTo(row: number): void {
  const current = tree.peek();
  if (!current) return;
  change({ path: encodePath(pathOf(current, row)) });
}

/** The reader wants to see what is cut off below `row`. */
export function expand(row: number): void {
  const current = tree.peek();
  if (!current) return;
  const { budget: budgets } = currentDetails();
  const budget = budgets.get(JSON.stringify(pathOf(current, row)));
  if (row !== focusRow.peek()) zoomTo(row);
  if (budget !== undefined || row === 0) loadDetail(row, (budget ?? 0) + 1);
}

/** A free zoom rests within `row`: what is cut off below it is wanted. */
export function settle(row: number): void {
  const current = tree.peek();
  if (row > 0 && current?.hiddenBelow[row]) loadDetail(row, 0);
}

/** Starts following the address; called once. */
export function startZoom(): void {
  // A path of names needs not wait for the tree: both requests go out together.
  effect(() => {
    const request = reportRequest.value;
    if (!request) return;
    const names = untracked(() => pathNames(decodePath(path.value)));
    if (!names || names.length === 0) return;
    const key = JSON.stringify(request);
    if (untracked(() => flame.state.value.key) === key) return;
    ask(request, names, 0, UNKNOWN_TRIM_PERCENT).catch(() => undefined);
  });
  effect(() => {
    const row = focusRow.value;
    const current = tree.value;
    if (current && row > 0 && current.hiddenBelow[row]) untracked(() => loadDetail(row, 0));
  });
}

// ── Search and the pinned function ───────────────────────────────────────────────────────────

export interface SearchResult {
  rows: RowSet | null;
  /** Share of the zoomed node's value that is in hits. */
  cumulative: number;
  flat: number;
  nodes: number;
  error: string;
}

const NO_SEARCH: SearchResult = { rows: null, cumulative: 0, flat: 0, nodes: 0, error: '' };

const searchText = computed(() => page.value.search);
const searchRegex = computed(() => page.value.regex);
const pinnedName = computed(() => page.value.pinned);

/** The test that the search box stands for, or what is wrong with it. */
export const searchTest = computed(() =>
  searchText.value === '' ? null : compileSearch({ text: searchText.value, regex: searchRegex.value }));

/** Nodes that match. */
export const searchRows = computed<RowSet | null>(() => {
  const current = tree.value;
  const test = searchTest.value;
  return current && typeof test === 'function' ? rowsOf(current, matchSymbols(current, test)) : null;
});

export const searchResult = computed<SearchResult>(() => {
  const test = searchTest.value;
  if (test && typeof test !== 'function') return { ...NO_SEARCH, error: test.error };
  const current = tree.value;
  const rows = searchRows.value;
  if (!current || !rows) return NO_SEARCH;
  return { rows, ...coverage(current, rows.mask, Math.min(focusRow.value, current.count - 1)), error: '' };
});

/** Nodes of the pinned function. */
export const pinnedRows = computed<Uint8Array | null>(() => {
  const current = tree.value;
  if (!current || pinnedName.value === '') return null;
  const id = current.symbols.find(pinnedName.value);
  return id < 0 ? new Uint8Array(current.count) : rowsNamed(current, id);
});

/** Length of what the reports show, for "per second" figures. */
export const mergedSpanMs = computed(() => (reportRequest.value ? reportRequest.value.of.to - reportRequest.value.of.from : 0));
