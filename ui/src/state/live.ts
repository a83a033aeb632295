/**
 * Keeping up with a store that goes on receiving. While a range ends at "now" the page asks, at
 * growing intervals, whether there is something new; what is shown is asked for again when there
 * is, and only while nobody is at work with it.
 */
import { effect, signal } from '@preact/signals';
import { fetchTypes } from '../api/reports';
import { preferredType, typeKey } from '../profile-type';
import { differs, isFull, nextInterval, type Situation } from './pace';
import { flame, now, page, refresh, route, sideA, typeIsOurs, types } from './store';
import { seriesOf } from './side';

/** Profiles have come that are not shown, because the reader is at work with those that are. */
export const newData = signal(false);

/** The reader is at work: a picture that changes now would be torn from their hands. */
function engaged(): boolean {
  const { a, b, path, search, pinned } = page.peek();
  if (b || a.selection || path !== '' || search !== '' || pinned !== '') return true;
  return document.querySelector('.flame:hover, .flame:focus-visible, .plot:hover, .plot:focus-visible, .table-body:hover, .table-body:focus-visible, .popover-panel, .suggestions, .menu') !== null;
}

const following = (): boolean =>
  route.peek() === 'explore' && page.peek().b === null && page.peek().a.time.kind === 'relative' && document.visibilityState === 'visible';

function situation(idle: number): Situation {
  const { from, to } = sideA.range.peek();
  const first = Math.min(...(sideA.series.state.peek().data ?? []).map(({ times }) => times[0] ?? Infinity));
  const shown = sideA.profileType.peek();
  const better = typeIsOurs() && (shown === null || !shown.delta);
  return { ageMs: isFull(first, { from, to }) ? Infinity : Date.now() - first, wanting: !Number.isFinite(first) || better, rangeMs: to - from, idle };
}

/** Asks whether there is more than is shown. */
async function look(signal: AbortSignal): Promise<boolean> {
  const request = sideA.seriesRequest.peek();
  const present = { from: sideA.range.peek().from, to: Date.now() };
  const asked = types.state.peek();
  const shown = sideA.series.state.peek();
  const [found, series] = await Promise.all([
    fetchTypes(present, signal),
    request && shown.data ? seriesOf({ ...request, to: present.to }, signal) : null,
  ]);
  if (signal.aborted || asked.loading) return false;
  // The server answers again.
  if ([types, sideA.series, flame].some((loader) => loader.state.peek().mayRecover)) return true;
  const best = preferredType(found);
  const current = sideA.selector.peek()?.type ?? '';
  if (typeIsOurs() && best && typeKey(best) !== current) return true;
  if (!engaged() && asked.data && found.length !== asked.data.length) types.replace(asked.key, found);
  return series !== null && shown.data !== null && shown.key === sideA.seriesKey.peek() && differs(shown.data, series);
}

/** Starts following; called once. */
export function startLive(): void {
  let timer = 0;
  let idle = 0;
  let abort = new AbortController();
  const wait = (): void => {
    clearTimeout(timer);
    timer = window.setTimeout(tick, nextInterval(situation(idle)));
  };
  const tick = (): void => {
    if (!following()) {
      wait();
      return;
    }
    abort = new AbortController();
    look(abort.signal).then(
      (fresh) => {
        idle = fresh && !newData.peek() ? 0 : idle + 1;
        if (fresh && engaged()) newData.value = true;
        else if (fresh) refresh();
      },
      () => {
        idle++;
      },
    ).finally(wait);
  };
  effect(() => {
    void [now.value, page.value.a.expression, page.value.a.time, route.value];
    abort.abort();
    newData.value = false;
    idle = 0;
    wait();
  });
  document.addEventListener('visibilitychange', () => {
    if (document.visibilityState !== 'visible') return;
    idle = 0;
    tick();
  });
}
