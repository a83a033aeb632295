/** The lines of the series graph: a click merges at a point, a drag narrows the time range. */
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import type { Label } from '../api/wire';
import { lineColour, pointNear, type SeriesTable } from '../series-data';
import type { Side } from '../state/side';
import { comparing } from '../state/store';
import { dark } from '../state/theme';
import { formatSelector, withMatcher } from '../selector';
import { clock, day } from '../time';
import type { SeriesUnit } from '../units';

const DRAG_PX = 6;
/** A click belongs to one line of several if it is this near. */
const NEAR_PX = 28;
const TICK_SECOND_LIMIT = 60_000;
const DAY_MS = 86_400_000;

export interface Cursor {
  index: number;
  /** From the left edge, in pixels. */
  left: number;
  /** Of the whole graph. */
  width: number;
  /** The line that the pointer is near, or -1. */
  nearest: number;
}

function timeTicks(_: uPlot, ticks: number[], _axis: number, _space: number, increment: number): string[] {
  return ticks.map((tick, i) => {
    if (increment >= DAY_MS) return day(tick).slice(5);
    const newDay = i > 0 && day(tick) !== day(ticks[i - 1]);
    return newDay ? day(tick).slice(5) : clock(tick, increment < TICK_SECOND_LIMIT);
  });
}

/** Steps of the axis of bytes: powers of two, so that labels are round. */
const BINARY_STEPS = Array.from({ length: 60 }, (_, power) => 2 ** power);

function nearestLine(plot: uPlot, index: number, top: number): number {
  let best = -1;
  let distance = Infinity;
  for (let i = 1; i < plot.series.length; i++) {
    const value = plot.data[i][index];
    if (value === null || value === undefined || plot.series[i].show === false) continue;
    const away = Math.abs(plot.valToPos(value, 'y') - top);
    if (away < distance) {
      distance = away;
      best = i - 1;
    }
  }
  return distance <= NEAR_PX || plot.series.length === 2 ? best : -1;
}

function mergeAt(side: Side, data: SeriesTable, index: number, line: number): void {
  const at = pointNear(data, index);
  const time = data.times[at];
  const current = side.selector.peek();
  if (time === undefined || !current) return;
  const labels: Label[] = line >= 0 && data.shown.length > 1 ? data.shown[line].labels : [];
  const matchers = labels.reduce((text, label) => withMatcher(text, label), current.matchers);
  const query = labels.length > 0 ? formatSelector({ type: current.type, matchers }) : null;
  side.select({ from: time, to: side.isDelta ? time + side.stepS.peek() * 1000 - 1 : time, query });
}

/** What a drag means: a narrower range, or, where two are compared, the part to compare. */
function dragged(side: Side, data: SeriesTable, from: number, to: number): void {
  if (!comparing.peek()) side.chooseTime({ kind: 'absolute', from, to });
  else if (side.isDelta) side.select({ from, to, query: null });
  else {
    const inside = data.times.filter((time) => time >= from && time <= to);
    const last = inside[inside.length - 1];
    if (last !== undefined) side.select({ from: last, to: last, query: null });
  }
}

interface PlotProps {
  side: Side;
  data: SeriesTable;
  unit: SeriesUnit;
  bytes: boolean;
  solo: number;
  onCursor(cursor: Cursor | null): void;
}

export function Plot({ side, data, unit, bytes, solo, onCursor }: PlotProps) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const isDark = dark.value;
  const { from, to } = side.range.value;
  const selection = side.state.value.selection;
  const latest = useRef({ selection });
  latest.current = { selection };

  useEffect(() => {
    const element = host.current;
    if (!element) return;
    const ink = isDark ? '#8793a6' : '#687386';
    const grid = isDark ? 'rgba(150,165,190,.10)' : 'rgba(40,55,80,.08)';
    const font = '11px Inter, "Segoe UI", system-ui, sans-serif';
    const single = data.lines.length === 1;
    const options: uPlot.Options = {
      width: Math.max(80, element.clientWidth),
      height: Math.max(60, element.clientHeight),
      ms: 1,
      padding: [8, 20, 0, 0],
      legend: { show: false },
      cursor: {
        drag: { x: true, y: false, setScale: false, dist: DRAG_PX },
        points: { size: 6, width: 1.5 },
        y: false,
      },
      scales: {
        x: { time: true, range: [from, to] },
        // From zero, so that a height is an amount.
        y: { range: (_, low, high) => [Math.min(0, low), high > 0 ? high * 1.08 : 1] },
      },
      axes: [
        { stroke: ink, font, grid: { show: false }, ticks: { stroke: grid, size: 4 }, size: 26, gap: 3, space: 80, values: timeTicks },
        {
          stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 66, gap: 6, space: 20,
          ...(bytes ? { incrs: BINARY_STEPS } : {}),
          values: (_, ticks) => ticks.map((tick) => unit.format(tick)),
        },
      ],
      series: [
        {},
        ...data.lines.map((_, i): uPlot.Series => {
          const colour = lineColour(i, isDark);
          return {
            stroke: solo >= 0 && solo !== i ? (isDark ? 'rgba(130,140,160,.25)' : 'rgba(110,120,140,.22)') : colour,
            width: 1.5,
            points: { show: data.times.length < 40, size: 4, fill: colour },
            fill: single ? colour.replace('rgb(', 'rgba(').replace(')', isDark ? ',.14)' : ',.10)') : undefined,
          };
        }),
      ],
      hooks: {
        setSelect: [
          (u) => {
            if (u.select.width < DRAG_PX) return;
            const start = u.posToVal(u.select.left, 'x');
            const end = u.posToVal(u.select.left + u.select.width, 'x');
            u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            dragged(side, data, Math.round(start), Math.max(Math.round(end), Math.round(start) + 1000));
          },
        ],
        setCursor: [
          (u) => {
            const { idx, left = -1, top = -1 } = u.cursor;
            onCursor(idx === null || idx === undefined || left < 0 ? null : { index: idx, left: left + u.bbox.left / devicePixelRatio, width: u.width, nearest: nearestLine(u, idx, top) });
          },
        ],
        drawClear: [
          (u) => {
            const chosen = latest.current.selection;
            if (!chosen) return;
            const left = u.valToPos(chosen.from, 'x', true);
            const right = Math.max(left + 2 * devicePixelRatio, u.valToPos(chosen.to, 'x', true));
            u.ctx.fillStyle = isDark ? 'rgba(142,166,255,.28)' : 'rgba(54,87,211,.18)';
            u.ctx.fillRect(left, u.bbox.top, right - left, u.bbox.height);
            // The edges make a single moment visible.
            u.ctx.fillStyle = isDark ? 'rgba(157,178,255,.9)' : 'rgba(47,82,216,.8)';
            const edge = 1.5 * devicePixelRatio;
            const within = (x: number): number => Math.min(Math.max(x, u.bbox.left), u.bbox.left + u.bbox.width - edge);
            for (const x of [left, right - edge]) u.ctx.fillRect(within(x), u.bbox.top, edge, u.bbox.height);
          },
        ],
      },
    };
    const u = new uPlot(options, [data.times, ...data.lines] as uPlot.AlignedData, element);
    plot.current = u;
    let down = -1;
    u.over.addEventListener('pointerdown', (event) => {
      down = event.clientX;
    });
    u.over.addEventListener('click', (event) => {
      const { idx, top = -1 } = u.cursor;
      if (Math.abs(event.clientX - down) > DRAG_PX || idx === null || idx === undefined) return;
      mergeAt(side, data, idx, nearestLine(u, idx, top));
    });
    const observer = new ResizeObserver(() => {
      u.setSize({ width: Math.max(80, element.clientWidth), height: Math.max(60, element.clientHeight) });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      u.destroy();
      plot.current = null;
    };
  }, [data, isDark, from, to, unit.title, solo]);

  useEffect(() => plot.current?.redraw(false), [selection]);
  /** Moves the cursor to the next point that has a value; the largest line there is the one that it is near. */
  const walk = (by: 1 | -1): void => {
    const u = plot.current;
    if (!u) return;
    const has = (index: number): boolean => data.lines.some((line) => typeof line[index] === 'number');
    let at = u.cursor.idx === null || u.cursor.idx === undefined || (u.cursor.left ?? -1) < 0 ? (by > 0 ? 0 : data.times.length - 1) : u.cursor.idx + by;
    while (at >= 0 && at < data.times.length && !has(at)) at += by;
    if (at < 0 || at >= data.times.length) return;
    const values = data.lines.map((line) => line[at]).filter((value) => typeof value === 'number');
    u.setCursor({ left: u.valToPos(data.times[at], 'x'), top: u.valToPos(Math.max(...values), 'y') });
  };
  return (
    <div
      class="plot"
      ref={host}
      tabindex={0}
      role="application"
      aria-roledescription="series graph"
      aria-label="Series: left and right move in time, Enter shows the profile at that point, Escape the whole range"
      onBlur={() => plot.current?.setCursor({ left: -10, top: -10 })}
      onKeyDown={(event) => {
        const u = plot.current;
        const index = u?.cursor.idx;
        if (event.key === 'ArrowLeft') walk(-1);
        else if (event.key === 'ArrowRight') walk(1);
        else if (event.key === 'Enter' && u && index !== null && index !== undefined) mergeAt(side, data, index, nearestLine(u, index, u.cursor.top ?? -1));
        else if (event.key === 'Escape' && side.state.peek().selection) side.select(null);
        else return;
        event.preventDefault();
      }}
    />
  );
}
