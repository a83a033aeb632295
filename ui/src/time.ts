/** Time ranges, relative and absolute, and how they are spelled in addresses and in words. Times are milliseconds since 1970. */

export type TimeSelection = { kind: 'relative'; unit: TimeUnit; count: number } | { kind: 'absolute'; from: number; to: number };
export type TimeUnit = 'minute' | 'hour' | 'day' | 'week';

export interface TimeRange {
  from: number;
  to: number;
}

const UNIT_MS: Record<TimeUnit, number> = { minute: 60_000, hour: 3_600_000, day: 86_400_000, week: 604_800_000 };

export const DEFAULT_TIME: TimeSelection = { kind: 'relative', unit: 'minute', count: 15 };

export const PRESETS: TimeSelection[] = (
  [
    ['minute', 1],
    ['minute', 5],
    ['minute', 15],
    ['minute', 30],
    ['hour', 1],
    ['hour', 3],
    ['hour', 6],
    ['hour', 12],
    ['day', 1],
    ['day', 2],
    ['day', 7],
    ['day', 15],
  ] as const
).map(([unit, count]) => ({ kind: 'relative', unit, count }));

export function rangeOf(selection: TimeSelection, now: number): TimeRange {
  return selection.kind === 'absolute'
    ? { from: selection.from, to: selection.to }
    : { from: now - selection.count * UNIT_MS[selection.unit], to: now };
}

/** Parca's spelling: `relative:minute|15`, `absolute:1700000000000-1700000900000`. */
export function encodeTime(selection: TimeSelection): string {
  return selection.kind === 'relative'
    ? `relative:${selection.unit}|${selection.count}`
    : `absolute:${selection.from}-${selection.to}`;
}

/** Reads Parca's spelling, also with `now` as the end; null where it is none. */
export function decodeTime(text: string, now: number): TimeSelection | null {
  const relative = /^relative:(minute|hour|day|week)s?\|(\d+)$/.exec(text);
  if (relative) {
    const count = Number(relative[2]);
    return count > 0 && count < 1e6 ? { kind: 'relative', unit: relative[1] as TimeUnit, count } : null;
  }
  const absolute = /^absolute:(\d+)-(\d+|now)$/.exec(text);
  if (!absolute) return null;
  const from = Number(absolute[1]);
  const to = absolute[2] === 'now' ? now : Number(absolute[2]);
  return from < to ? { kind: 'absolute', from, to } : null;
}

const two = (value: number): string => String(value).padStart(2, '0');

/** `18:32`, with seconds if asked for. */
export function clock(time: number, seconds = false): string {
  const date = new Date(time);
  return `${two(date.getHours())}:${two(date.getMinutes())}${seconds ? `:${two(date.getSeconds())}` : ''}`;
}

/** `2026-11-22`. */
export function day(time: number): string {
  const date = new Date(time);
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

/** A moment as short as it can be and still be understood at `now`. */
export function moment(time: number, now: number, seconds = false): string {
  return day(time) === day(now) ? clock(time, seconds) : `${day(time)} ${clock(time, seconds)}`;
}

/** `18:17 – 18:32`. */
export function rangeText(range: TimeRange, now: number, seconds = false): string {
  const to = day(range.from) === day(range.to) ? clock(range.to, seconds) : moment(range.to, now, seconds);
  return `${moment(range.from, now, seconds)} – ${to}`;
}

/** `Last 15 minutes`. */
export function selectionText(selection: TimeSelection, now: number): string {
  if (selection.kind === 'absolute') return rangeText(selection, now);
  return selection.count === 1 ? `Last ${selection.unit}` : `Last ${selection.count} ${selection.unit}s`;
}

/** How long ago, in words. */
export function ago(time: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - time) / 1000));
  if (seconds < 2) return 'just now';
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} days ago`;
}

/** The value of a `datetime-local` field, in local time. */
export const toField = (time: number): string => `${day(time)}T${clock(time, true)}`;

/** The time in a `datetime-local` field; NaN where it is empty. */
export const fromField = (text: string): number => new Date(text).getTime();

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** How often most senders take a profile. */
const USUAL_INTERVAL_S = 10;
/** Ranges from this on do not show single profiles. */
const OVERVIEW_MS = 300_000;

/**
 * Seconds per point, so that a range gives at most `points` of them. Points nearer to each other
 * than profiles are would show when profiles were taken, and not what they hold.
 */
export function stepFor(range: TimeRange, points: number): number {
  const length = range.to - range.from;
  const wanted = Math.max(length / 1000 / Math.max(1, points), length >= OVERVIEW_MS ? USUAL_INTERVAL_S : 0);
  return STEPS_S.find((step) => step >= wanted) ?? STEPS_S[STEPS_S.length - 1];
}
