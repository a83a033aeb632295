/** The series graph with its legend and tooltip. */
import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import { lineColour, pointNear, seriesName, tabulate, type SeriesTable } from '../series-data';
import type { Side } from '../state/side';
import { comparing, now } from '../state/store';
import { dark } from '../state/theme';
import { describeType } from '../profile-type';
import { moment, rangeText } from '../time';
import { formatSpan, seriesUnit, type SeriesUnit } from '../units';
import { Icon } from './Icon';
import type { Cursor, Plot as PlotComponent } from './SeriesPlot';

/** What draws lines weighs as much as the rest of the page: it comes by itself, and the flame graph does not wait for it. */
const plot = signal<{ Plot: typeof PlotComponent } | null>(null);
let asked = false;
function loadPlot(): void {
  if (asked) return;
  asked = true;
  import('./SeriesPlot').then(
    (module) => {
      plot.value = module;
    },
    () => {
      asked = false;
    },
  );
}

function Tooltip({ data, unit, cursor }: { data: SeriesTable; unit: SeriesUnit; cursor: Cursor }) {
  const at = pointNear(data, cursor.index);
  const entries = data.lines
    .map((line, i) => ({ i, value: line[at] }))
    .filter((entry): entry is { i: number; value: number } => typeof entry.value === 'number')
    .sort((a, b) => b.value - a.value);
  const shown = entries.slice(0, 8);
  const { left, width } = cursor;
  return (
    <div class="series-tip" role="status" style={left > width / 2 ? { right: `${width - left + 14}px` } : { left: `${left + 14}px` }}>
      <div class="faint">{moment(data.times[at], now.value, true)}</div>
      {shown.map(({ i, value }) => (
        <div key={i} class={`tip-line ${i === cursor.nearest && data.lines.length > 1 ? 'near' : ''}`}>
          <span class="swatch" style={{ background: lineColour(i, dark.value) }} />
          <span class="tip-name">{seriesName(data.shown[i])}</span>
          <span class="number">{unit.format(value)}</span>
        </div>
      ))}
      {entries.length > shown.length && <div class="faint">and {entries.length - shown.length} more</div>}
      <div class="faint">{comparing.value ? 'click: compare this point · drag: compare this part' : 'click: profile at this point · drag: zoom'}</div>
    </div>
  );
}

/** Which part of a side is compared. */
function Part({ side }: { side: Side }) {
  const { selection } = side.state.value;
  if (!selection) return <span class="part faint">all of it</span>;
  const single = selection.from === selection.to;
  const text = single ? moment(selection.from, now.value, true) : rangeText(selection, now.value, selection.to - selection.from < 300_000);
  return (
    <span class="part chip">
      {text}{!single && <span class="faint">· {formatSpan(Math.round((selection.to - selection.from) / 1000) * 1000)}</span>}
      <button type="button" class="plain" aria-label={`Compare all of ${side.id.toUpperCase()}`} title="Compare all of it" onClick={() => side.select(null)}>
        <Icon name="close" />
      </button>
    </span>
  );
}

export function SeriesPanel({ side }: { side: Side }) {
  const { data, loading, error } = side.series.state.value;
  const [cursor, setCursor] = useState<Cursor | null>(null);
  const [solo, setSolo] = useState(-1);
  const [tabulated, setTabulated] = useState<SeriesTable | null>(null);
  useEffect(() => {
    setTabulated(data ? tabulate(data) : null);
    setSolo(-1);
    setCursor(null);
  }, [data]);
  useEffect(loadPlot, []);
  const Plot = plot.value?.Plot;
  const type = side.profileType.value;
  const unit = seriesUnit(type ?? { sampleType: 'value', sampleUnit: '', periodType: '', delta: true });
  // What is a state has a name of its own; what is an amount is shown per second.
  const title = type && !type.delta ? describeType(type).title : unit.title;
  const empty = tabulated?.times.length === 0;
  return (
    <section class="series" aria-label={`${title} over time${comparing.value ? `, ${side.id.toUpperCase()}` : ''}`}>
      <div class={`progress ${loading ? 'on' : ''}`} />
      <header class="series-head">
        <h2>{title}</h2>
        {comparing.value && <Part side={side} />}
        {tabulated && tabulated.shown.length > 1 && (
          <ul class="legend">
            {tabulated.shown.slice(0, 12).map((one, i) => (
              <li key={seriesName(one)}>
                <button
                  type="button"
                  class={`legend-entry ${solo >= 0 && solo !== i ? 'off' : ''}`}
                  title={`${seriesName(one)} — click: show alone, double click: add to the matchers`}
                  onClick={() => setSolo(solo === i ? -1 : i)}
                  onDblClick={() => one.labels[0] && side.addMatcher(one.labels[0].name, one.labels[0].value)}
                >
                  <span class="swatch" style={{ background: lineColour(i, dark.value) }} />
                  {one.labels.map(({ value }) => value).join(' · ') || 'total'}
                </button>
              </li>
            ))}
            {tabulated.shown.length > 12 && <li class="faint">+ {tabulated.shown.length - 12 + tabulated.omitted}</li>}
          </ul>
        )}
      </header>
      <div class="series-body">
        {Plot && tabulated && !empty && (
          <Plot side={side} data={tabulated} unit={unit} bytes={type?.sampleUnit === 'bytes'} solo={solo} onCursor={setCursor} />
        )}
        {cursor && tabulated && !empty && <Tooltip data={tabulated} unit={unit} cursor={cursor} />}
        {error && <p class="panel-error" role="alert">{error}</p>}
        {empty && !error && <p class="panel-note">No profiles of this type in this range.</p>}
      </div>
    </section>
  );
}
