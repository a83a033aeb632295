/** The total of a comparison's base: the report holds only what is compared, and the base scaled to it. */
import { computed, effect, signal } from '@preact/signals';
import { fetchSeries, type Merge } from '../api/reports';
import { absolute, comparing, filters, flame, sideA } from './store';

const asked = signal<{ key: string; total: number } | null>(null);

/** In the unit of the report; null while it is not known. */
export const baseTotal = computed<number | null>(() => {
  const report = flame.state.value.data;
  const of = sideA.merged.value;
  if (!comparing.value || !report || !of) return null;
  if (absolute.value) return report.tree?.diff ? report.total - report.tree.diff[0] : report.total;
  return asked.value?.key === JSON.stringify(of) && filters.value.length === 0 ? asked.value.total : null;
});

/** Starts asking for totals where the report does not tell them; called once. */
export function startTotals(): void {
  effect(() => {
    const of = sideA.merged.value;
    if (!comparing.value || absolute.value || !of) return;
    const key = JSON.stringify(of);
    if (asked.peek()?.key === key) return;
    const { query, ...span }: Merge = of;
    fetchSeries(query, span, 0, []).then(
      (all) => {
        asked.value = { key, total: all.reduce((sum, one) => sum + one.sum, 0) };
      },
      () => undefined,
    );
  });
}
