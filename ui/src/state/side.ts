/** One thing that the page looks at: its selector, its time and its series. A comparison has two of them. */
import { computed, type ReadonlySignal, type Signal } from '@preact/signals';
import { fetchSeries, type Merge } from '../api/reports';
import type { Series } from '../api/series';
import type { ProfileType } from '../api/wire';
import { parseTypeKey, typeKey } from '../profile-type';
import { formatSelector, parseSelector, withMatcher, type Selector } from '../selector';
import { lastSnapshot } from '../series-data';
import { rangeOf, stepFor, type TimeRange, type TimeSelection } from '../time';
import type { Selection, SideState } from './address';
import { Loader } from './resource';

/** Points of the series graph at most; each is a bucket that the server sums. */
const SERIES_POINTS = 180;

export interface SeriesRequest extends Merge {
  stepS: number;
  sumBy: string[];
}

export const seriesOf = ({ query, stepS, sumBy, ...span }: SeriesRequest, abort?: AbortSignal): Promise<Series[]> =>
  fetchSeries(query, span, stepS, sumBy, abort);

/** How a side tells the page what the reader did. */
export interface SideEvents {
  change(patch: Partial<SideState>): void;
  /** Asks everything again, at the present. */
  refresh(): void;
}

export class Side {
  readonly range: ReadonlySignal<TimeRange>;
  readonly selector: ReadonlySignal<Selector | null>;
  readonly profileType: ReadonlySignal<ProfileType | null>;
  readonly stepS: ReadonlySignal<number>;
  readonly series = new Loader<Series[]>((key, abort) => seriesOf(JSON.parse(key) as SeriesRequest, abort));
  /** What the series are asked for; null while there is no type. */
  readonly seriesRequest: ReadonlySignal<SeriesRequest | null>;
  readonly seriesKey: ReadonlySignal<string>;
  /** What the reports are of; null while that is not known yet. */
  readonly merged: ReadonlySignal<Merge | null>;

  constructor(
    readonly id: 'a' | 'b',
    readonly state: ReadonlySignal<SideState>,
    private readonly now: Signal<number>,
    private readonly events: SideEvents,
  ) {
    // By its own: a signal that is the same again wakes nobody.
    const expression = computed(() => state.value.expression);
    const time = computed(() => state.value.time);
    const selection = computed(() => state.value.selection);
    const sumBy = computed(() => state.value.sumBy);
    this.range = computed(() => rangeOf(time.value, now.value));
    this.selector = computed(() => parseSelector(expression.value));
    this.profileType = computed(() => parseTypeKey(this.selector.value?.type ?? ''));
    this.stepS = computed(() => stepFor(this.range.value, SERIES_POINTS));
    this.seriesRequest = computed(() =>
      this.selector.value && {
        query: expression.value,
        ...this.range.value,
        stepS: this.stepS.value,
        sumBy: this.isDelta ? sumBy.value : [],
      });
    this.seriesKey = computed(() => (this.seriesRequest.value ? JSON.stringify(this.seriesRequest.value) : ''));
    this.merged = computed(() => {
      const chosen = selection.value;
      if (!this.selector.value) return null;
      if (chosen) return { from: chosen.from, to: chosen.to, query: chosen.query ?? expression.value };
      if (this.isDelta) return { ...this.range.value, query: expression.value };
      const { data, key } = this.series.state.value;
      if (!data || key !== this.seriesKey.value) return null;
      const snapshot = lastSnapshot(data, this.stepS.value);
      return snapshot && { ...snapshot, query: expression.value };
    });
  }

  /** The type is an amount per time, and not a state at a time. True where the type is not known. */
  get isDelta(): boolean {
    return this.profileType.value?.delta !== false;
  }

  /** The series have come, and there are none. */
  get isEmpty(): boolean {
    const { loading, error, key, data } = this.series.state.value;
    return !loading && error === '' && key === this.seriesKey.value && data?.length === 0;
  }

  chooseType(type: ProfileType): void {
    this.events.change({
      expression: formatSelector({ type: typeKey(type), matchers: this.selector.peek()?.matchers ?? '' }),
      selection: null,
    });
  }

  /** Applies matchers as typed, and asks again even where they did not change. */
  applyMatchers(matchers: string): void {
    const type = this.selector.peek()?.type;
    if (!type) return;
    const expression = formatSelector({ type, matchers });
    if (expression === this.state.peek().expression) this.events.refresh();
    else {
      this.now.value = Date.now();
      this.events.change({ expression, selection: null });
    }
  }

  addMatcher(name: string, value: string): void {
    const current = this.selector.peek();
    if (current) this.applyMatchers(withMatcher(current.matchers, { name, value }));
  }

  chooseTime(time: TimeSelection): void {
    this.now.value = Date.now();
    this.events.change({ time, selection: null });
  }

  /** The reports show `selection` only; null shows the whole range again. */
  select(selection: Selection | null): void {
    this.events.change({ selection });
  }

  splitBy(sumBy: string[]): void {
    this.events.change({ sumBy });
  }
}
