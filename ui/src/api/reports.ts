/** The page's requests, one function each. Times are milliseconds. */
import { SymbolPool } from '../flame/symbols';
import type { FlameTree } from '../flame/tree';
import { markOnce } from '../marks';
import type { TimeRange } from '../time';
import { decodeTable, type TopTable } from './arrow';
import { flameOf } from './decode';
import { ApiError, get, getJson, type Parameters } from './fetch';
import { call } from './grpc';
import { Writer } from './message';
import { readSeries, type Series } from './series';
import type { ForwardingAnswer, JobsAnswer, ProfileType, SendersAnswer, TargetsAnswer, WireFilter } from './wire';

const ARROW = 'application/vnd.apache.arrow.stream';
/** Boxes below this share of the total (in percent) are not worth sending: a quarter of a pixel. Smaller ones are asked for by a zoom. */
const TRIM_PERCENT = 0.02;

const iso = (time: number): string => new Date(time).toISOString();
const span = (range: TimeRange | null): Parameters => (range ? { start: iso(range.from), end: iso(range.to) } : {});

/** Names for the life of the page, see {@link SymbolPool}. */
export const symbols = new SymbolPool();

/** Profiles that are merged into one. */
export interface Merge extends TimeRange {
  query: string;
}

/** What a report is of. */
export interface ReportRequest {
  of: Merge;
  /** What `of` is compared with. */
  base: Merge | null;
  /** Compares values as they are, and not as shares of their totals. */
  absolute: boolean;
  invert: boolean;
  filters: WireFilter[];
}

export interface FlameReport {
  /** Null where nothing can be drawn. */
  tree: FlameTree | null;
  /** Value of everything that matched, trimmed or not. */
  total: number;
  /** Value that filters removed. */
  filtered: number;
  unit: string;
  /** What a reader must know about the numbers: a saturated sum, a block left out. */
  notice: string;
}

export async function fetchTypes(range: TimeRange | null, signal?: AbortSignal): Promise<ProfileType[]> {
  const answer = await getJson<{ types?: ProfileType[] }>('/profiles/types', span(range), signal);
  return answer.types ?? [];
}

export async function fetchLabelNames(type: string, range: TimeRange, signal?: AbortSignal): Promise<string[]> {
  const answer = await getJson<{ labelNames?: string[] }>('/profiles/labels', { profile_type: type || undefined, ...span(range) }, signal);
  return answer.labelNames ?? [];
}

export async function fetchLabelValues(name: string, type: string, range: TimeRange, signal?: AbortSignal): Promise<string[]> {
  const path = `/profiles/labels/${encodeURIComponent(name)}/values`;
  const answer = await getJson<{ labelValues?: string[] }>(path, { profile_type: type || undefined, ...span(range) }, signal);
  return answer.labelValues ?? [];
}

export async function fetchHasData(signal?: AbortSignal): Promise<boolean> {
  return (await getJson<{ hasData?: boolean }>('/profiles/has_profile_data', {}, signal)).hasData === true;
}

const QUERY_RANGE = 'parca.query.v1alpha1.QueryService/QueryRange';

/** The series of `query`; none where there is no data. `stepS` 0 gives a single point for all of the range. */
export async function fetchSeries(
  query: string,
  range: TimeRange,
  stepS: number,
  sumBy: readonly string[],
  signal?: AbortSignal,
): Promise<Series[]> {
  const request = new Writer().text(1, query).time(2, range.from).time(3, range.to);
  if (stepS > 0) request.time(5, stepS * 1000);
  for (const name of sumBy) request.text(6, name);
  const answer = await call(QUERY_RANGE, request.done(), signal);
  return answer ? decoded(() => readSeries(answer)) : [];
}

const mergeOf = (prefix: string, { query, from, to }: Merge): Parameters => ({
  [`${prefix}merge.query`]: query,
  [`${prefix}merge.start`]: iso(Math.floor(from)),
  [`${prefix}merge.end`]: iso(Math.ceil(to)),
});

/** The parameters that say what a report is of. */
export function reportParameters({ of, base, absolute, invert, filters }: ReportRequest, report: string): Parameters {
  const selection = base
    ? {
        mode: 'MODE_DIFF',
        'diff.a.mode': 'MODE_MERGE',
        ...mergeOf('diff.a.', base),
        'diff.b.mode': 'MODE_MERGE',
        ...mergeOf('diff.b.', of),
        'diff.absolute': absolute ? 'true' : undefined,
      }
    : { mode: 'MODE_MERGE', ...mergeOf('', of) };
  return {
    ...selection,
    report_type: report,
    // Of reports of frames: columns that say why those without a function have none, and what each is run by.
    reasons: report.endsWith('_ARROW') ? 'true' : undefined,
    frame_types: report.endsWith('_ARROW') ? 'true' : undefined,
    invert_call_stack: invert ? 'true' : undefined,
    filter: filters.map((filter) => JSON.stringify(filter)),
  };
}

/** An Arrow report, or null where the server says NotFound for "no samples". */
async function getUnlessMissing(parameters: Parameters, signal?: AbortSignal): Promise<Response | null> {
  try {
    return await get('/profiles/query', parameters, signal, ARROW);
  } catch (cause) {
    if (cause instanceof ApiError && cause.status === 404) return null;
    throw cause;
  }
}

const header = (response: Response, name: string): number => Number(response.headers.get(name) ?? 0) || 0;

/** A subtree that is wanted in more detail. */
export interface Detail {
  /** Frame names from below the root. */
  focus: string[];
  maxNodes?: number;
  /** In percent of the total. */
  trimPercent: number;
}

export async function fetchFlame(request: ReportRequest, detail: Detail | null, signal?: AbortSignal): Promise<FlameReport | null> {
  const response = await getUnlessMissing(
    {
      ...reportParameters(request, 'REPORT_TYPE_FLAMEGRAPH_ARROW'),
      'group_by.fields': 'function_name',
      node_trim_threshold: String(detail ? detail.trimPercent : TRIM_PERCENT),
      focus: detail && detail.focus.length > 0 ? JSON.stringify(detail.focus) : undefined,
      max_nodes: detail?.maxNodes ? String(detail.maxNodes) : undefined,
    },
    signal,
  );
  if (!response) return null;
  const bytes = new Uint8Array(await response.arrayBuffer());
  markOnce('decima:answer');
  const tree = await flameOf(bytes, symbols, request.base !== null).catch(unreadable);
  const drawn = tree && tree.cumulative[0] > 0 ? tree : null;
  const total = header(response, 'x-decima-total') || (drawn?.cumulative[0] ?? 0);
  const notice = response.headers.get('x-decima-notice') ?? '';
  if (!drawn && total === 0 && notice === '') return null;
  return {
    tree: drawn,
    total,
    filtered: header(response, 'x-decima-filtered'),
    unit: response.headers.get('x-decima-unit') ?? '',
    notice,
  };
}

/** What a decoder throws about foreign bytes, as a sentence. */
function unreadable(cause: unknown): never {
  throw new ApiError(200, `The report could not be read (${cause instanceof Error ? cause.message : String(cause)}).`);
}

/** Runs a decoder. */
function decoded<T>(decode: () => T): T {
  try {
    return decode();
  } catch (cause) {
    return unreadable(cause);
  }
}

export interface TableReport {
  table: TopTable;
  total: number;
  unit: string;
}

export async function fetchTable(request: ReportRequest, signal?: AbortSignal): Promise<TableReport> {
  const response = await get('/profiles/query', reportParameters(request, 'REPORT_TYPE_TABLE_ARROW'), signal, ARROW);
  const bytes = new Uint8Array(await response.arrayBuffer());
  return {
    table: decoded(() => decodeTable(bytes, symbols, request.base !== null)),
    total: header(response, 'x-decima-total'),
    unit: response.headers.get('x-decima-unit') ?? '',
  };
}

/** The profile as a gzip-compressed pprof file. */
export async function fetchPprof(request: ReportRequest): Promise<Blob> {
  const response = await get('/profiles/query', reportParameters(request, 'REPORT_TYPE_PPROF'), undefined, 'application/octet-stream');
  return response.blob();
}

export const fetchTargets = (signal?: AbortSignal): Promise<TargetsAnswer> =>
  getJson<TargetsAnswer>('/targets', { state: 'STATE_ACTIVE' }, signal);

export const fetchJobs = (signal?: AbortSignal): Promise<JobsAnswer> => getJson<JobsAnswer>('/jobs', {}, signal);

export const fetchForwarding = (signal?: AbortSignal): Promise<ForwardingAnswer> => getJson<ForwardingAnswer>('/forwarding', {}, signal);

export const fetchSenders = (signal?: AbortSignal): Promise<SendersAnswer> => getJson<SendersAnswer>('/senders', {}, signal);

const DAY_MS = 86_400_000;
/** How far back the newest data is looked for: longer than most stores keep it. */
const LOOK_BACK_DAYS = 400;

/** When the newest profile of `query` was taken, to the minute; null where there is none. */
export async function findNewest(query: string, now: number, signal?: AbortSignal): Promise<number | null> {
  const newest = async (range: TimeRange, stepS: number): Promise<number | null> => {
    const times = (await fetchSeries(query, range, stepS, [], signal)).map((series) => series.times[series.times.length - 1]);
    return times.length > 0 ? Math.max(...times) : null;
  };
  const onDay = await newest({ from: now - LOOK_BACK_DAYS * DAY_MS, to: now }, DAY_MS / 1000);
  if (onDay === null) return null;
  return (await newest({ from: onDay - 1000, to: Math.min(now, onDay + DAY_MS) }, 60)) ?? onDay;
}
