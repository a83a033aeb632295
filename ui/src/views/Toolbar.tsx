/** The line above the reports: what they are of, search, and how they are shown. */
import { signal } from '@preact/signals';
import { useEffect, useRef, useState } from 'preact/hooks';
import { fetchPprof } from '../api/reports';
import { widest } from '../flame/search';
import { COLOUR_BY, type ColourBy, type Panel } from '../state/address';
import { hasFrameTypes } from '../state/colours';
import { absolute, change, comparing, flame, now, page, profileType, reportRequest, sideA, sideB } from '../state/store';
import { baseTotal } from '../state/totals';
import { detailLoading, focusRow, mergedSpanMs, searchResult, tree, zoomTo } from '../state/zoom';
import { frameLabel } from '../flame/paint';
import { shortName } from '../flame/names';
import { rangeText } from '../time';
import { formatChange, formatCount, formatShare, formatSpan, formatValue } from '../units';
import { FilterChips, graph } from './FlamePanel';
import { Icon } from './Icon';

export function Toolbar() {
  return (
    <div class="toolbar">
      <Subject />
      <div class="toolbar-chips">
        <Notice />
        <ZoomChip />
        <PinChip />
        <FilterChips />
      </div>
      <div class="toolbar-right">
        <Search />
        <Options />
      </div>
    </div>
  );
}

/** What the reports are of: value, time. */
function Subject() {
  if (comparing.value) return <ComparedSubject />;
  const report = flame.state.value.data;
  const what = sideA.merged.value;
  const { selection } = sideA.state.value;
  if (!what) return <div class="subject" />;
  const delta = sideA.isDelta;
  const total = report ? formatValue(report.total, report.unit) : '';
  const snapshot = !delta && what.to - what.from < 1000;
  return (
    <div class="subject" aria-live="polite">
      <strong class="number">{total}</strong>
      {report && report.filtered > 0 && <span class="faint">{formatValue(report.filtered, report.unit)} filtered out</span>}
      <span class={`subject-range ${selection ? 'chip' : ''}`}>
        {delta ? '' : 'at '}
        {snapshot ? rangeText({ from: what.to, to: what.to }, now.value, true).split(' – ')[0] : rangeText(what, now.value, mergedSpanMs.value < 300_000)}
        {delta && <span class="faint"> · {formatSpan(Math.round(mergedSpanMs.value / 1000) * 1000)}</span>}
        {selection && (
          <button type="button" class="plain" aria-label="Show the whole time range again" title="Show the whole time range again" onClick={() => sideA.select(null)}>
            <Icon name="close" />
          </button>
        )}
      </span>
    </div>
  );
}

/** `A 12.3 s → B 14.1 s, +14.6 %`, and how they are compared. */
function ComparedSubject() {
  const report = flame.state.value.data;
  const base = baseTotal.value;
  const alike = JSON.stringify(sideA.merged.value) === JSON.stringify(sideB.merged.value);
  const lengths = [sideA, sideB].map(({ merged }) => (merged.value ? merged.value.to - merged.value.from : 0));
  return (
    <div class="subject" aria-live="polite">
      {report && base !== null && (
        <span class="number subject-change">
          <span class="side-letter a">A</span> {formatValue(base, report.unit)} <span class="faint" aria-label="to">→</span>{' '}
          <span class="side-letter b">B</span> <strong>{formatValue(report.total, report.unit)}</strong>{' '}
          <span class={report.total > base ? 'more' : report.total < base ? 'less' : 'faint'}>{formatChange(report.total - base, base)}</span>
        </span>
      )}
      <div class="segments" role="group" aria-label="What is compared">
        {[false, true].map((as) => (
          <button
            type="button"
            key={String(as)}
            aria-pressed={absolute.value === as}
            class={absolute.value === as ? 'on' : ''}
            title={as ? 'Compare the values as they are' : 'Scale A to the total of B, and compare shares: for times of unequal length or load'}
            onClick={() => change({ absolute: as })}
          >
            {as ? 'Values' : 'Shares'}
          </button>
        ))}
      </div>
      {alike && <span class="chip notice" role="status">A and B are the same: drag or click in a series to choose a part</span>}
      {base === 0 && <span class="chip notice" role="status">A has no samples: everything is new</span>}
      {absolute.value && profileType.value?.delta !== false && Math.abs(lengths[0] - lengths[1]) > Math.max(...lengths) * 0.1 && (
        <span class="chip notice" role="status">A and B are of unequal length</span>
      )}
    </div>
  );
}

/** What the server says about the numbers. */
function Notice() {
  const notice = flame.state.value.data?.notice;
  return notice ? <span class="chip notice" role="status" title={notice}><b class="clip">{notice}</b></span> : null;
}

function ZoomChip() {
  const current = tree.value;
  const row = focusRow.value;
  if (!current || row === 0 || row >= current.count) return null;
  return (
    <span class="chip" title={frameLabel(current, row)}>
      <Icon name="search" />
      <b class="clip">{shortName(frameLabel(current, row))}</b> {formatShare(current.cumulative[row], current.cumulative[0])}
      {detailLoading.value && <span class="spinner" aria-label="loading detail" />}
      <button type="button" class="plain" aria-label="Zoom out" onClick={() => zoomTo(0)}>
        <Icon name="close" />
      </button>
    </span>
  );
}

function PinChip() {
  const { pinned } = page.value;
  if (pinned === '') return null;
  return (
    <span class="chip pin" title={pinned}>
      <b class="clip">{shortName(pinned)}</b>
      <button type="button" class="plain" aria-label="Outline no function" onClick={() => change({ pinned: '' })}>
        <Icon name="close" />
      </button>
    </span>
  );
}

function Search() {
  const input = useRef<HTMLInputElement>(null);
  const { search, regex } = page.value;
  const result = searchResult.value;
  const current = tree.value;
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.key !== '/' || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
      event.preventDefault();
      input.current?.focus();
      input.current?.select();
    };
    document.addEventListener('keydown', key);
    return () => document.removeEventListener('keydown', key);
  }, []);
  const total = current ? current.cumulative[Math.min(focusRow.value, current.count - 1)] : 0;
  return (
    <div class={`search ${result.error ? 'invalid' : ''}`} role="search">
      <Icon name="search" />
      <input
        ref={input}
        type="text"
        value={search}
        spellcheck={false}
        autocomplete="off"
        placeholder="Search functions"
        aria-label={regex ? 'Search functions by pattern' : 'Search functions'}
        aria-invalid={result.error !== ''}
        onInput={(event) => change({ search: event.currentTarget.value }, 'replace')}
        onKeyDown={(event) => {
          if (event.key === 'Escape') {
            change({ search: '' }, 'replace');
            event.currentTarget.blur();
          } else if (event.key === 'Enter' && current && result.rows) {
            const row = widest(current, result.rows.mask, focusRow.value);
            if (row < 0) return;
            document.querySelector<HTMLElement>('.flame')?.focus();
            graph.current?.select(row);
          }
        }}
      />
      {search !== '' && (
        <output class="search-result" title={result.error || `${formatCount(result.nodes)} frames`}>
          {result.error ? 'not a pattern' : <><b>{formatShare(result.cumulative, total)}</b> matched</>}
        </output>
      )}
      <button
        type="button"
        class={`plain regex ${regex ? 'on' : ''}`}
        aria-pressed={regex}
        title="Regular expression"
        aria-label="Regular expression"
        onClick={() => change({ regex: !regex }, 'replace')}
      >
        .*
      </button>
      {search === '' ? (
        <kbd aria-hidden="true">/</kbd>
      ) : (
        <button type="button" class="plain" aria-label="Clear the search" onClick={() => change({ search: '' }, 'replace')}>
          <Icon name="close" />
        </button>
      )}
    </div>
  );
}

const COLOURS: Record<ColourBy, { title: string; meaning: string }> = {
  function: { title: 'Package', meaning: 'package, crate or namespace' },
  binary: { title: 'Binary', meaning: 'binary' },
  type: { title: 'Type', meaning: 'type of frame: kernel, native, an interpreter' },
};

const PANELS: { title: string; panels: Panel[] }[] = [
  { title: 'Flame graph', panels: ['flamegraph'] },
  { title: 'Both', panels: ['table', 'flamegraph'] },
  { title: 'Table', panels: ['table'] },
];

const downloadError = signal('');

function Options() {
  const { panels, colourBy, invert } = page.value;
  const [busy, setBusy] = useState(false);
  const shown = panels.length > 1 ? 'Both' : panels[0] === 'table' ? 'Table' : 'Flame graph';
  const download = (): void => {
    const request = reportRequest.peek();
    if (!request || busy) return;
    setBusy(true);
    downloadError.value = '';
    fetchPprof(request)
      .then((blob) => {
        const link = document.createElement('a');
        link.href = URL.createObjectURL(blob);
        link.download = 'profile.pb.gz';
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      })
      .catch((cause: unknown) => {
        downloadError.value = cause instanceof Error ? cause.message : String(cause);
      })
      .finally(() => setBusy(false));
  };
  return (
    <>
      <div class="segments" role="group" aria-label="Views">
        {PANELS.map(({ title, panels: wanted }) => (
          <button type="button" key={title} aria-pressed={title === shown} class={title === shown ? 'on' : ''} onClick={() => change({ panels: wanted })}>
            {title}
          </button>
        ))}
      </div>
      {!comparing.value && <div class="segments" role="group" aria-label="Colour by">
        {COLOUR_BY.filter((by) => by !== 'type' || by === colourBy || hasFrameTypes.value).map((by) => (
          <button
            type="button"
            key={by}
            aria-pressed={by === colourBy}
            class={by === colourBy ? 'on' : ''}
            title={`A colour per ${COLOURS[by].meaning}`}
            onClick={() => change({ colourBy: by }, 'replace')}
          >
            {COLOURS[by].title}
          </button>
        ))}
      </div>}
      <button type="button" class={`control icon-only ${invert ? 'on' : ''}`} aria-pressed={invert} title="Invert: leaves first" aria-label="Invert the call stacks" onClick={() => change({ invert: !invert, path: '' })}>
        <Icon name="invert" />
      </button>
      <button type="button" class="control icon-only" title={downloadError.value || 'Download as pprof'} aria-label="Download as pprof" disabled={busy} onClick={download}>
        <Icon name="download" />
      </button>
      {downloadError.value && <span class="field-note bad" role="alert">{downloadError.value}</span>}
    </>
  );
}
