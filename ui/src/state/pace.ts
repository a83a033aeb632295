/** How often a store is asked for news, and what is news. */
import type { Series } from '../api/series';
import type { TimeRange } from '../time';

/** First interval while the store is young: the first profile is to be seen when it comes. */
const YOUNG_MS = 1000;
const YOUNG_LONGEST_MS = 5000;
/** Data that began less than this ago is of a young store. */
const YOUNG_DATA_MS = 120_000;
/** Shortest interval otherwise. */
const SETTLED_MS = 15_000;
/** A settled graph of a long range changes slowly: it is asked for at most this often per its length. */
const SETTLED_PER_RANGE = 60;
const GROWTH = 1.5;
const LONGEST_FACTOR = 4;

/** What is known of the store when the next interval is chosen. */
export interface Situation {
  /** Milliseconds since the first point of what is shown; infinite where the range was full when it was asked for. */
  ageMs: number;
  /** Nothing is shown yet, or not yet what would be the most useful. */
  wanting: boolean;
  rangeMs: number;
  /** How often in a row nothing new was found. */
  idle: number;
}

/** Milliseconds until the store is asked again. */
export function nextInterval({ ageMs, wanting, rangeMs, idle }: Situation): number {
  const young = wanting || ageMs < YOUNG_DATA_MS;
  const first = young ? YOUNG_MS : Math.max(SETTLED_MS, rangeMs / SETTLED_PER_RANGE);
  return Math.min(first * GROWTH ** idle, young ? YOUNG_LONGEST_MS : first * LONGEST_FACTOR);
}

/** Whether two answers to the same question differ: the last points are enough, since time only adds. */
export function differs(before: readonly Series[], after: readonly Series[]): boolean {
  const gist = (all: readonly Series[]): string =>
    all.map(({ times, sum }) => `${times.length} ${times[times.length - 1]} ${sum}`).sort().join();
  return gist(before) !== gist(after);
}

/** A range that begins with data was full before it was asked for: how young the store is cannot be told from it. */
export const isFull = (firstPoint: number, { from, to }: TimeRange): boolean => firstPoint - from < (to - from) / SETTLED_PER_RANGE;
