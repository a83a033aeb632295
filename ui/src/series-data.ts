/** From series to what the graph draws: one common time axis, gaps where data is missing, colours. */
import type { Series } from './api/series';
import { css, oklch } from './flame/colour';
import type { TimeRange } from './time';

/** More lines than this say nothing; the smaller ones are left out and counted. */
export const MAX_LINES = 40;

export interface SeriesTable {
  /** Milliseconds, ascending. */
  times: number[];
  /** Per line a value per time; null is a gap, undefined is "no point here, go on". */
  lines: (number | null | undefined)[][];
  /** The series that the lines are of, largest first. */
  shown: Series[];
  omitted: number;
}

/** A gap is shown where a series misses this many of its usual intervals. */
const GAP_INTERVALS = 3;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

function usualInterval(times: readonly number[]): number {
  const gaps = times.slice(1).map((time, i) => time - times[i]).sort((a, b) => a - b);
  return gaps.length > 0 ? gaps[gaps.length >> 1] : Infinity;
}

export function tabulate(series: readonly Series[]): SeriesTable {
  const ordered = [...series].sort((a, b) => sum(b.values) - sum(a.values));
  const shown = ordered.slice(0, MAX_LINES);
  const all = new Set<number>();
  for (const { times } of shown) {
    for (const time of times) all.add(time);
    const limit = usualInterval(times) * GAP_INTERVALS;
    for (let i = 1; i < times.length; i++) if (times[i] - times[i - 1] > limit) all.add((times[i] + times[i - 1]) / 2);
  }
  const times = [...all].sort((a, b) => a - b);
  const index = new Map(times.map((time, i) => [time, i]));
  const lines = shown.map((one) => {
    const line: (number | null | undefined)[] = new Array<undefined>(times.length).fill(undefined);
    const limit = usualInterval(one.times) * GAP_INTERVALS;
    one.times.forEach((time, i) => {
      line[index.get(time)!] = one.values[i];
      if (i > 0 && time - one.times[i - 1] > limit) line[index.get((time + one.times[i - 1]) / 2)!] = null;
    });
    return line;
  });
  return { times, lines, shown, omitted: ordered.length - shown.length };
}

const LINE_HUES = [262, 35, 160, 330, 85, 210, 12, 130, 295, 55];

/** The colour of line `i`. */
export function lineColour(i: number, dark: boolean): string {
  const hue = LINE_HUES[i % LINE_HUES.length] + (Math.floor(i / LINE_HUES.length) * 17) % 360;
  return css(dark ? oklch(0.74, 0.13, hue) : oklch(0.56, 0.16, hue));
}

/** `job="api", pod="x"`, or `total` for the series without labels. */
export function seriesName(series: Series): string {
  return series.labels.length === 0 ? 'total' : series.labels.map(({ name, value }) => `${name}="${value}"`).join(', ');
}

/**
 * The range that holds the last snapshot of each series: for types that are states (memory in use)
 * and not amounts, the sum of a longer range means nothing. `stepS` is the width where it cannot
 * be told from the points.
 */
export function lastSnapshot(all: readonly Series[], stepS: number): TimeRange | null {
  let newest = -Infinity;
  let gap = Infinity;
  for (const { times } of all) {
    newest = Math.max(newest, times[times.length - 1] ?? -Infinity);
    for (let i = 1; i < times.length; i++) gap = Math.min(gap, times[i] - times[i - 1]);
  }
  if (newest === -Infinity) return null;
  const width = Number.isFinite(gap) ? gap : stepS * 1000;
  return { from: newest - width + 1, to: newest };
}

/** Nearest time at which any line has a value. */
export function pointNear(data: SeriesTable, index: number): number {
  for (let away = 0; away < data.times.length; away++) {
    for (const at of [index - away, index + away]) {
      if (data.lines.some((line) => typeof line[at] === 'number')) return at;
    }
  }
  return index;
}
