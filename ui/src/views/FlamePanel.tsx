/** The flame graph with its tooltip, menu and status line. */
import { effect, signal } from '@preact/signals';
import { useEffect, useMemo, useRef } from 'preact/hooks';
import { coverage, rowsNamed } from '../flame/search';
import { FlameGraph, type Hit } from '../flame/graph';
import { frameLabel } from '../flame/paint';
import { boxColour, css, diffColour } from '../flame/colour';
import type { FlameTree } from '../flame/tree';
import { colourBy, groups, hues, theme } from '../state/colours';
import { absolute, change, filters, flame } from '../state/store';
import { encodeFilters, filterText, type Filter } from '../state/filters';
import { dark } from '../state/theme';
import { expand, focusRow, pinnedRows, searchRows, settle, tree, zoomTo } from '../state/zoom';
import { formatChange, formatCount, formatShare, formatSigned, formatValue } from '../units';
import { markOnce } from '../marks';
import { Icon } from './Icon';

interface Pointer {
  hit: Hit;
  x: number;
  y: number;
}

const pointer = signal<Pointer | null>(null);
const selected = signal(-1);
const menu = signal<{ row: number; x: number; y: number } | null>(null);

/** The graph on screen; for keys and tests. */
export const graph: { current: FlameGraph | null } = { current: null };

export function FlamePanel() {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!host.current) return;
    const made = new FlameGraph(host.current, {
      zoom: zoomTo,
      expand,
      settle,
      hover: (hit, x, y) => {
        pointer.value = hit && !menu.peek() ? { hit, x, y } : null;
      },
      select: (row) => {
        selected.value = row;
      },
      menu: (row, x, y) => {
        pointer.value = null;
        menu.value = { row, x, y };
      },
    });
    graph.current = made;
    // Not through a render: a zoom is to be on screen before the next event.
    const stops = [
      effect(() => made.setColours(theme(), tree.value?.diff ? 'diff' : colourBy.value, hues.value, dark.value ? '#9db2ff' : '#2f52d8')),
      effect(() => {
        // Hues are given before they are painted.
        void hues.value;
        made.show({ tree: tree.value, focus: focusRow.value, hits: searchRows.value, pinned: pinnedRows.value });
        if (tree.value) markOnce('decima:flame');
      }),
      effect(() => {
        void [tree.value, focusRow.value];
        pointer.value = null;
        selected.value = -1;
      }),
    ];
    return () => {
      for (const stop of stops) stop();
      made.destroy();
      graph.current = null;
      pointer.value = null;
      menu.value = null;
    };
  }, []);

  const current = tree.value;
  const label = current
    ? `Flame graph, ${formatCount(current.count)} frames. Arrow keys walk through it, Enter zooms to a frame, plus and minus zoom about it, Escape zooms out, slash searches. The table shows the same as text.`
    : 'Flame graph';
  return (
    <div class="flame-panel">
      <div class="flame" ref={host} tabindex={0} role="application" aria-roledescription="flame graph" aria-label={label} />
      <FlameTip />
      <FlameMenu />
      <FlameStatus />
    </div>
  );
}

const unitOf = (): string => flame.state.value.data?.unit ?? '';

/** Value, share of everything and share of the zoomed node. */
function amounts(current: FlameTree, row: number) {
  const total = current.cumulative[0];
  return {
    cumulative: formatValue(current.cumulative[row], unitOf()),
    share: formatShare(current.cumulative[row], total),
    flat: formatValue(current.flat[row], unitOf()),
    flatShare: formatShare(current.flat[row], total),
  };
}

function FlameTip() {
  const at = pointer.value;
  const current = tree.value;
  if (!at || !current || at.hit.row >= current.count) return null;
  const { row, kind } = at.hit;
  const right = at.x > innerWidth * 0.62;
  const below = at.y < innerHeight * 0.62;
  const place = {
    ...(right ? { right: `${innerWidth - at.x + 14}px` } : { left: `${at.x + 14}px` }),
    ...(below ? { top: `${at.y + 16}px` } : { bottom: `${innerHeight - at.y + 14}px` }),
  };
  if (kind === 'hidden') {
    return (
      <div class="flame-tip" style={place}>
        <div class="tip-title">Trimmed below {frameLabel(current, row)}</div>
        <p>
          {formatValue(current.hidden[row], unitOf())} ({formatShare(current.hidden[row], current.cumulative[0])}) are in callees too small to have been
          sent. Click to load them.
        </p>
      </div>
    );
  }
  const { cumulative, share, flat, flatShare } = amounts(current, row);
  const root = row === 0;
  const focus = focusRow.value;
  const text = (id: number): string => current.symbols.text(id);
  const line = current.line[row];
  return (
    <div class="flame-tip" style={place}>
      <div class="tip-title">{frameLabel(current, row)}</div>
      <dl>
        <dt>Cumulative</dt>
        <dd><b>{cumulative}</b> {share}{focus > 0 && row > 0 && <span class="faint"> · {formatShare(current.cumulative[row], current.cumulative[focus])} of zoom</span>}</dd>
        <dt>Flat</dt>
        <dd><b>{flat}</b> {flatShare}</dd>
        {current.diff && (
          <>
            <dt>Base</dt>
            <dd>{formatValue(current.cumulative[row] - current.diff[row], unitOf())}{!absolute.value && <span class="faint"> scaled to the same total</span>}</dd>
            <dt>Change</dt>
            <dd class={current.diff[row] > 0 ? 'more' : current.diff[row] < 0 ? 'less' : ''}>
              <b>{formatSigned(current.diff[row], unitOf())}</b> {formatChange(current.diff[row], current.cumulative[row] - current.diff[row])}
            </dd>
          </>
        )}
        {current.hidden[row] > 0 && <><dt>Trimmed</dt><dd><b>{formatValue(current.hidden[row], unitOf())}</b> {formatShare(current.hidden[row], current.cumulative[0])}</dd></>}
        {current.file[row] > 0 && <><dt>File</dt><dd class="path">{text(current.file[row])}{line > 0 && `:${line}`}</dd></>}
        {current.unresolved[row] > 0 && <><dt>Function</dt><dd class="unresolved">{text(current.unresolved[row])}</dd></>}
        {!root && current.file[row] === 0 && current.unresolved[row] === 0 && <><dt>File</dt><dd class="faint">not known</dd></>}
        {current.binary[row] > 0 && <><dt>Binary</dt><dd class="path">{text(current.binary[row])}</dd></>}
        {current.address[row] !== 0n && <><dt>Address</dt><dd class="path">0x{current.address[row].toString(16)}</dd></>}
        {current.frameType[row] > 0 && <><dt>Type</dt><dd class="frame-type">{text(current.frameType[row])}</dd></>}
        {current.inlined[row] === 1 && <><dt>Inlined</dt><dd>yes</dd></>}
      </dl>
    </div>
  );
}

function FlameMenu() {
  const at = menu.value;
  const current = tree.value;
  useEffect(() => {
    if (!at) return;
    const close = (event: Event): void => {
      if (event instanceof KeyboardEvent && event.key !== 'Escape') return;
      if (event.target instanceof Element && event.target.closest('.menu')) return;
      menu.value = null;
    };
    document.addEventListener('pointerdown', close);
    document.addEventListener('keydown', close);
    document.querySelector<HTMLElement>('.menu button')?.focus();
    return () => {
      document.removeEventListener('pointerdown', close);
      document.removeEventListener('keydown', close);
    };
  }, [at]);
  if (!at || !current || at.row >= current.count) return null;
  const name = frameLabel(current, at.row);
  const binary = current.symbols.text(current.binary[at.row]);
  const action = (run: () => void) => () => {
    menu.value = null;
    run();
  };
  const addFilter = (filter: Filter): void => change({ filters: encodeFilters([...filters.peek(), filter]), path: '' });
  const place = {
    left: `${Math.min(at.x, innerWidth - 300)}px`,
    top: `${Math.min(at.y, innerHeight - 260)}px`,
  };
  return (
    <div class="menu" role="menu" style={place} aria-label={name}>
      <div class="menu-title">{name}</div>
      <button role="menuitem" type="button" onClick={action(() => zoomTo(at.row))}>Zoom to this frame</button>
      {at.row > 0 && (
        <>
          <button role="menuitem" type="button" onClick={action(() => change({ pinned: name }))}>Outline everywhere</button>
          <button role="menuitem" type="button" onClick={action(() => void navigator.clipboard?.writeText(name))}>Copy the name</button>
          <hr />
          <button role="menuitem" type="button" onClick={action(() => addFilter({ scope: 's', field: 'fn', test: '=', value: name }))}>Only stacks with this function</button>
          <button role="menuitem" type="button" onClick={action(() => addFilter({ scope: 's', field: 'fn', test: '!=', value: name }))}>Leave out stacks with this function</button>
          {binary && (
            <button role="menuitem" type="button" onClick={action(() => addFilter({ scope: 'f', field: 'b', test: '!=', value: binary.slice(binary.lastIndexOf('/') + 1) }))}>
              Hide frames of this binary
            </button>
          )}
        </>
      )}
    </div>
  );
}

/** Groups named in the legend. */
const LEGEND_ENTRIES = 7;

function FlameStatus() {
  const current = tree.value;
  const at = pointer.value?.hit.kind === 'node' ? pointer.value.hit.row : selected.value;
  const by = colourBy.value;
  const without = by === 'type' ? 'no type' : 'no symbols';
  const legend = current?.diff ? [] : groups.value.filter(({ flat }) => flat > 0).slice(0, LEGEND_ENTRIES);
  const everywhere = useMemo(
    () => (current && at > 0 && at < current.count ? coverage(current, rowsNamed(current, current.name[at])) : null),
    [current, at],
  );
  const notSent = useMemo(() => current?.hidden.reduce((sum, value) => sum + value, 0) ?? 0, [current]);
  if (!current) return <footer class="flame-status" />;
  if (at >= 0 && at < current.count) {
    const { cumulative, share, flat, flatShare } = amounts(current, at);
    return (
      <footer class="flame-status" aria-live={pointer.value ? 'off' : 'polite'}>
        <span class="status-name">{frameLabel(current, at)}</span>
        <span>this <b>{share}</b> {cumulative} · flat {flatShare} {flat}</span>
        {everywhere && everywhere.nodes > 1 && (
          <span>
            all {formatCount(everywhere.nodes)} <b>{formatShare(everywhere.cumulative, current.cumulative[0])}</b> {formatValue(everywhere.cumulative, unitOf())} · flat{' '}
            {formatShare(everywhere.flat, current.cumulative[0])}
          </span>
        )}
      </footer>
    );
  }
  return (
    <footer class="flame-status">
      {current.diff && (
        <span class="scale" role="img" aria-label="Colours: blue is less than in the base, grey the same, red more">
          less {[-1, -0.4, -0.1, 0, 0.1, 0.4, 1].map((by) => <span key={by} style={{ background: css(diffColour(theme(), by)) }} />)} more
        </span>
      )}
      <span class="status-legend">
      {legend.map(({ group, flat }) => (
        <button
          key={group}
          type="button"
          class="legend-entry"
          title={`${formatShare(flat, current.cumulative[0])} flat in ${group || `frames with ${without}`}${by === 'function' ? '. Click: search for it' : ''}`}
          disabled={by !== 'function' || group === ''}
          onClick={() => change({ search: group, regex: false }, 'replace')}
        >
          <span class="swatch" style={{ background: css(boxColour(theme(), group === '' ? null : hues.value.of(group), group)) }} />
          {group || without} <span class="faint number">{formatShare(flat, current.cumulative[0])}</span>
        </button>
      ))}
      </span>
      {notSent > 0 && (
        <span class="legend-entry static" title="In callees too small to have been sent. Zooming or a click on a hatched box loads them.">
          <span class="swatch hatched" /> trimmed <span class="faint number">{formatShare(notSent, current.cumulative[0])}</span>
        </span>
      )}
      <span class="status-hints"><kbd>/</kbd> search <kbd>←↑↓→</kbd> walk <kbd>↵</kbd> zoom <kbd>esc</kbd> out <kbd>ctrl</kbd> wheel</span>
    </footer>
  );
}

/** Shown above the graph while a filter is on. */
export function FilterChips() {
  const all = filters.value;
  if (all.length === 0) return null;
  return (
    <>
      {all.map((filter, i) => (
        <span class="chip" key={encodeFilters([filter])} title={filterText(filter)}>
          <Icon name="filter" />
          {filter.scope === 's' ? 'stacks' : 'frames'} {filter.field === 'fn' ? '' : `${filter.field === 'b' ? 'binary' : filter.field} `}
          {filter.test.startsWith('!') ? 'without' : 'with'} <b>{filter.value}</b>
          <button type="button" class="plain" aria-label={`Remove the filter ${filter.value}`} onClick={() => change({ filters: encodeFilters(all.filter((_, other) => other !== i)), path: '' })}>
            <Icon name="close" />
          </button>
        </span>
      ))}
    </>
  );
}
