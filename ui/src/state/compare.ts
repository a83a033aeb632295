/** What a comparison begins with: two parts of what was shown, so that there is something to see at once. */
import type { Series } from '../api/series';
import type { TimeRange } from '../time';
import type { SideState } from './address';

/** A selection is compared with the whole range; otherwise the second half of what has data with the first, or the last snapshot with the first. */
export function initialSides(side: SideState, range: TimeRange, delta: boolean, series: readonly Series[]): { a: SideState; b: SideState } {
  const times = series.flatMap((one) => [one.times[0], one.times[one.times.length - 1]]).filter((time) => time !== undefined);
  const whole = times.length > 0 ? { from: Math.max(range.from, Math.min(...times)), to: Math.min(range.to, Math.max(...times)) } : range;
  if (!delta) {
    const at = (time: number): SideState => ({ ...side, selection: { from: time, to: time, query: null } });
    return { a: at(whole.from), b: side.selection ? side : at(whole.to) };
  }
  if (side.selection) return { a: { ...side, selection: null }, b: side };
  const middle = Math.round((whole.from + whole.to) / 2);
  const part = (from: number, to: number): SideState => ({ ...side, selection: { from, to, query: null } });
  return { a: part(whole.from, middle - 1), b: part(middle, range.to) };
}
