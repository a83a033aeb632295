/** The top table: every function with what it holds, as many rows as there are, drawn as they come into view. */
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { boxColour, css } from '../flame/colour';
import { baseName, shortName } from '../flame/names';
import { groupOf } from '../flame/paint';
import { colourBy, hues, theme } from '../state/colours';
import { change, page, table } from '../state/store';
import { searchTest } from '../state/zoom';
import { arrange, type Sort, type SortColumn } from '../top-table';
import { formatChange, formatCount, formatShare, formatSigned, formatValue } from '../units';

const ROW_PX = 24;
/** Rows drawn beyond the edges, so that a fast scroll shows no hole. */
const SPARE_ROWS = 8;

interface ColumnTitle {
  column: SortColumn;
  title: string;
  numeric: boolean;
}

const COLUMNS: ColumnTitle[] = [
  { column: 'name', title: 'Function', numeric: false },
  { column: 'flat', title: 'Flat', numeric: true },
  { column: 'cumulative', title: 'Cumulative', numeric: true },
  { column: 'binary', title: 'Binary', numeric: false },
];
const COMPARED_COLUMNS: ColumnTitle[] = [
  { column: 'name', title: 'Function', numeric: false },
  { column: 'flat', title: 'Flat in B', numeric: true },
  { column: 'flatDiff', title: 'Flat change', numeric: true },
  { column: 'cumulative', title: 'Cum. in B', numeric: true },
  { column: 'cumulativeDiff', title: 'Cum. change', numeric: true },
  { column: 'binary', title: 'Binary', numeric: false },
];

const BY_FLAT: Sort = { column: 'flat', descending: true };
/** What grew most is what one looks for. */
const BY_CHANGE: Sort = { column: 'flatDiff', descending: true };

export function TablePanel() {
  const { data, error } = table.state.value;
  const [chosenSort, setSort] = useState<Sort | null>(null);
  const compares = data?.table.flatDiff != null;
  const columns = compares ? COMPARED_COLUMNS : COLUMNS;
  const sort = chosenSort && columns.some(({ column }) => column === chosenSort.column) ? chosenSort : compares ? BY_CHANGE : BY_FLAT;
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(400);
  const [active, setActive] = useState(-1);
  const body = useRef<HTMLDivElement>(null);
  const test = searchTest.value;
  const rows = useMemo(
    () => (data ? arrange(data.table, sort, typeof test === 'function' ? test : null) : new Uint32Array()),
    [data, sort, test],
  );
  useEffect(() => {
    const element = body.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (body.current) body.current.scrollTop = 0;
    setActive(-1);
  }, [sort, test, data]);

  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS);
  const last = Math.min(rows.length, Math.ceil((top + height) / ROW_PX) + SPARE_ROWS);
  const total = data?.total ?? 0;
  const largest = useMemo(
    () => ({
      flat: greatest(data?.table.flat),
      cumulative: greatest(data?.table.cumulative),
      change: Math.max(greatest(data?.table.flatDiff), greatest(data?.table.cumulativeDiff)),
    }),
    [data],
  );
  const unit = data?.unit ?? '';
  const pinned = page.value.pinned;
  const shades = theme();
  const book = hues.value;
  const pin = (name: string): void => change({ pinned: name === pinned ? '' : name });
  const move = (to: number): void => {
    const at = Math.max(0, Math.min(rows.length - 1, to));
    setActive(at);
    const element = body.current;
    if (!element) return;
    if (at * ROW_PX < element.scrollTop) element.scrollTop = at * ROW_PX;
    else if ((at + 1) * ROW_PX > element.scrollTop + height) element.scrollTop = (at + 1) * ROW_PX - height;
  };

  return (
    <div class={`table-panel ${compares ? 'compares' : ''}`} role="table" aria-label="Functions" aria-rowcount={rows.length + 1}>
      <div class="table-head" role="row">
        {columns.map(({ column, title, numeric }) => {
          const sorted = sort.column === column;
          return (
            <div
              key={column}
              role="columnheader"
              class={`cell ${column} ${numeric ? 'numeric' : ''}`}
              aria-sort={sorted ? (sort.descending ? 'descending' : 'ascending') : 'none'}
            >
              <button type="button" class={sorted ? 'sorted' : ''} onClick={() => setSort({ column, descending: sorted ? !sort.descending : numeric })}>
                {title} <span class="arrow" aria-hidden="true">{sorted ? (sort.descending ? '↓' : '↑') : ''}</span>
              </button>
            </div>
          );
        })}
      </div>
      <div
        class="table-body"
        ref={body}
        tabindex={0}
        role="rowgroup"
        aria-label="Functions; arrow keys move, Enter outlines the function in the graph"
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
        onKeyDown={(event) => {
          const page = Math.max(1, Math.floor(height / ROW_PX) - 1);
          const to = { ArrowDown: active + 1, ArrowUp: active - 1, PageDown: active + page, PageUp: active - page, Home: 0, End: rows.length - 1 }[event.key];
          if (to !== undefined) move(to);
          else if (event.key === 'Enter' && data && active >= 0) pin(data.table.symbols.text(data.table.name[rows[active]]));
          else return;
          event.preventDefault();
        }}
      >
        <div class="table-rows" style={{ height: `${rows.length * ROW_PX}px` }}>
          {data &&
            Array.from(rows.subarray(first, last), (row, i) => {
              const at = first + i;
              const name = data.table.symbols.text(data.table.name[row]) || '(unknown)';
              const binary = data.table.symbols.text(data.table.binary[row]);
              const frameType = data.table.symbols.text(data.table.frameType[row]);
              const group = groupOf(name, binary, frameType, colourBy.value);
              const unresolved = data.table.symbols.text(data.table.unresolved[row]);
              const colour = boxColour(shades, group === '' ? null : book.of(group), name);
              return (
                <div
                  key={row}
                  role="row"
                  aria-rowindex={at + 2}
                  aria-selected={name === pinned}
                  class={`table-row ${name === pinned ? 'pinned' : ''} ${at === active ? 'active' : ''}`}
                  style={{ transform: `translateY(${at * ROW_PX}px)` }}
                  onClick={() => pin(name)}
                >
                  <div role="cell" class="cell name" title={unresolved ? `${name}: ${unresolved}` : name}>
                    <span class="swatch" style={{ background: css(colour) }} />
                    <NameText name={name} />
                    {frameType && frameType !== ORDINARY_TYPE && <span class="label frame-type" title="Type of the frame">{frameType}</span>}
                    {unresolved && <span class="clip faint unresolved">{unresolved}</span>}
                  </div>
                  <Amount value={data.table.flat[row]} total={total} largest={largest.flat} unit={unit} column="flat" />
                  {data.table.flatDiff && <Change value={data.table.flatDiff[row]} now={data.table.flat[row]} largest={largest.change} unit={unit} column="flatDiff" />}
                  <Amount value={data.table.cumulative[row]} total={total} largest={largest.cumulative} unit={unit} column="cumulative" />
                  {data.table.cumulativeDiff && <Change value={data.table.cumulativeDiff[row]} now={data.table.cumulative[row]} largest={largest.change} unit={unit} column="cumulativeDiff" />}
                  <div role="cell" class="cell binary" title={binary}><span class="clip">{baseName(binary)}</span></div>
                </div>
              );
            })}
        </div>
        {error && <p class="panel-error" role="alert">{error}</p>}
        {data && rows.length === 0 && !error && <p class="panel-note">{data.table.count === 0 ? 'No samples.' : 'No function matches the search.'}</p>}
      </div>
      <footer class="flame-status">
        {data && <span>{formatCount(rows.length)} functions{rows.length < data.table.count && ` of ${formatCount(data.table.count)}`}</span>}
        <span class="status-hints">click a row: outline it in the graph</span>
      </footer>
    </div>
  );
}

/** The type of most frames, which is not named in each row. */
const ORDINARY_TYPE = 'native';

/** A name whose package gives way first where there is little room. */
function NameText({ name }: { name: string }) {
  const short = shortName(name);
  if (short === name || !name.endsWith(short)) return <span class="clip">{name}</span>;
  return (
    <span class="split-name">
      <span class="clip faint">{name.slice(0, -short.length)}</span>
      <span class="clip own">{short}</span>
    </span>
  );
}

const greatest = (values: Float64Array | null | undefined): number => values?.reduce((most, value) => Math.max(most, Math.abs(value)), 0) ?? 0;

interface AmountProps {
  value: number;
  total: number;
  /** What a full bar stands for. */
  largest: number;
  unit: string;
  column: string;
}

function Amount({ value, total, largest, unit, column }: AmountProps) {
  const share = largest > 0 ? Math.max(0, Math.min(1, value / largest)) : 0;
  return (
    <div role="cell" class={`cell numeric ${column}`}>
      <span class="bar" style={{ transform: `scaleX(${share})` }} />
      <span class="number">{formatValue(value, unit)}</span>
      <span class="share number">{formatShare(value, total)}</span>
    </div>
  );
}

interface ChangeProps {
  /** Against the base. */
  value: number;
  /** What it is in the compared profile. */
  now: number;
  largest: number;
  unit: string;
  column: string;
}

/** A change; its bar says how large it is and its colour which way it went. */
function Change({ value, now, largest, unit, column }: ChangeProps) {
  const share = largest > 0 ? Math.min(1, Math.abs(value) / largest) : 0;
  const sign = value > 0 ? 'more' : value < 0 ? 'less' : 'same';
  return (
    <div role="cell" class={`cell numeric change ${column} ${sign}`}>
      <span class="bar" style={{ transform: `scaleX(${share})` }} />
      <span class="number">{formatSigned(value, unit)}</span>
      <span class="share number">{formatChange(value, now - value)}</span>
    </div>
  );
}
