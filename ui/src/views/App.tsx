/** The frame of the page: header, and the view that the address names. */
import { useEffect } from 'preact/hooks';
import { FORWARDS, PATH_PREFIX, VERSION } from '../api/fetch';
import { describeType } from '../profile-type';
import { newData } from '../state/live';
import type { Side } from '../state/side';
import { compare, comparing, flame, go, keepOnly, nothingHere, page, profileType, refresh, route, sideA, sideB, swapSides, table, types } from '../state/store';
import { signedIn, signInNeeded, signOut } from '../state/session';
import { dark, toggleTheme } from '../state/theme';
import { formatValue } from '../units';
import { Nothing, storeEmpty } from './Empty';
import { FlamePanel } from './FlamePanel';
import { Forwarding } from './Forwarding';
import { Icon } from './Icon';
import { MatcherInput } from './MatcherInput';
import { SeriesPanel } from './SeriesPanel';
import { OpenWarning, SignIn } from './SignIn';
import { SumBy } from './SumBy';
import { TablePanel } from './TablePanel';
import { Targets } from './Targets';
import { TimePicker } from './TimePicker';
import { Toolbar } from './Toolbar';
import { TypePicker } from './TypePicker';

function NavLink({ to, children }: { to: 'explore' | 'targets'; children: string }) {
  const href = `${PATH_PREFIX}/${to === 'explore' ? '' : to}`;
  return (
    <a
      href={href}
      class="nav-link"
      aria-current={route.value === to ? 'page' : undefined}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        go(to);
      }}
    >
      {children}
    </a>
  );
}

function Header() {
  return (
    <header class="header">
      <a
        class="brand"
        href={`${PATH_PREFIX}/`}
        aria-label="Decima, start page"
        onClick={(event) => {
          if (event.ctrlKey || event.metaKey || event.shiftKey) return;
          event.preventDefault();
          go('explore');
        }}
      >
        <svg viewBox="0 0 24 24" width="20" height="20" aria-hidden="true">
          <rect x="2" y="3" width="20" height="5" rx="1.5" fill="#e2562d" />
          <rect x="2" y="9.5" width="13" height="5" rx="1.5" fill="#f08a3c" />
          <rect x="16.5" y="9.5" width="5.5" height="5" rx="1.5" fill="#f4b04f" />
          <rect x="2" y="16" width="7" height="5" rx="1.5" fill="#f4b04f" />
          <rect x="10.5" y="16" width="4.5" height="5" rx="1.5" fill="#f7cf7f" />
        </svg>
        Decima
      </a>
      <nav aria-label="Views">
        <NavLink to="explore">{FORWARDS ? 'Forwarding' : 'Explore'}</NavLink>
        <NavLink to="targets">Targets</NavLink>
      </nav>
      <span class="header-space" />
      <span class="version">{VERSION}</span>
      {signedIn.value && <button type="button" class="control ghost" onClick={() => void signOut()}>Sign out</button>}
      <button type="button" class="control icon-only ghost" onClick={toggleTheme} aria-label={dark.value ? 'Light colours' : 'Dark colours'} title={dark.value ? 'Light colours' : 'Dark colours'}>
        <Icon name={dark.value ? 'sun' : 'moon'} />
      </button>
    </header>
  );
}

function Refresh() {
  const busy = [types, sideA.series, sideB.series, flame, table].some((loader) => loader.state.value.loading);
  const text = newData.value ? 'New profiles have come: show them' : 'Ask again';
  return (
    <button type="button" class={`control icon-only ${newData.value ? 'news' : ''}`} onClick={refresh} aria-label={text} title={text}>
      <span class={busy ? 'turning' : ''}><Icon name="refresh" /></span>
    </button>
  );
}

function QueryBar() {
  const chosen = sideA.state.value.expression !== '';
  return (
    <div class="query-bar" role="search" aria-label="Profiles">
      <TypePicker side={sideA} />
      {chosen ? <><MatcherInput side={sideA} /><SumBy side={sideA} /></> : <span class="header-space" />}
      <TimePicker side={sideA} />
      {chosen && (
        <button type="button" class="control" onClick={compare} title="Compare two times or two selections">
          <Icon name="compare" /> Compare
        </button>
      )}
      <Refresh />
    </div>
  );
}

const SIDE_WORDS = { a: 'Base', b: 'Compared' } as const;

/** One half of a comparison: what it is of, and its series to choose from. */
function ComparedSide({ side }: { side: Side }) {
  const other = side.id === 'a' ? 'b' : 'a';
  return (
    <section class={`compared side-${side.id}`} aria-label={`${SIDE_WORDS[side.id]} (${side.id.toUpperCase()})`}>
      <div class="query-bar">
        <span class="side-badge" title={side.id === 'a' ? 'What is compared with' : 'What is compared'}><b>{side.id.toUpperCase()}</b> {SIDE_WORDS[side.id]}</span>
        <MatcherInput side={side} />
        <TimePicker side={side} />
        <button type="button" class="control icon-only ghost" aria-label={`Close ${side.id.toUpperCase()} and show ${other.toUpperCase()} alone`} title={`Show ${other.toUpperCase()} alone`} onClick={() => keepOnly(other)}>
          <Icon name="close" />
        </button>
      </div>
      <SeriesPanel side={side} />
    </section>
  );
}

function Comparison() {
  return (
    <>
      <div class="query-bar" role="search" aria-label="Profiles">
        <TypePicker side={sideB} />
        <span class="header-space" />
        <button type="button" class="control" onClick={swapSides} title="Compare the other way round"><Icon name="swap" /> Swap</button>
        <button type="button" class="control on" aria-pressed="true" onClick={() => keepOnly('b')} title="End the comparison, show B alone">
          <Icon name="compare" /> Compare
        </button>
        <Refresh />
      </div>
      <main class="explorer">
        <h1 class="unseen">Compare profiles</h1>
        <div class="sides">
          <ComparedSide side={sideA} />
          <ComparedSide side={sideB} />
        </div>
        <Reports />
      </main>
    </>
  );
}

function Reports() {
  const { panels } = page.value;
  const flameState = flame.state.value;
  const busy = flameState.loading || (panels.includes('table') && table.state.value.loading);
  const both = panels.length > 1;
  return (
    <section class="reports" aria-label="Profile" aria-busy={busy}>
      <div class={`progress ${busy ? 'on' : ''}`} />
      <Toolbar />
      <div class={`panels ${both ? 'both' : ''} ${busy ? 'busy' : ''}`}>
        {panels.includes('table') && <TablePanel />}
        {panels.includes('flamegraph') && (
          <div class="flame-frame">
            <FlamePanel />
            {flameState.error && (
              <div class="panel-error big" role="alert">
                <p>{flameState.error === sideA.series.state.value.error ? 'There is nothing to draw: the question was refused, see above.' : flameState.error}</p>
                <button type="button" class="primary" onClick={refresh}>Try again</button>
              </div>
            )}
            {!flameState.error && !flameState.loading && !flameState.data?.tree && flameState.key !== '' && (
              <p class="panel-note">{nothingToDraw()}</p>
            )}
          </div>
        )}
      </div>
    </section>
  );
}

/** Why there is no graph, in words. */
function nothingToDraw(): string {
  const report = flame.state.value.data;
  if (report && report.total < 0) {
    return `The values add up to ${formatValue(report.total, report.unit)}: a flame graph cannot show less than nothing. The table has them.`;
  }
  if (report && report.notice !== '') return `There is nothing to draw: ${report.notice}.`;
  if (page.value.filters) return 'No samples match these filters.';
  return comparing.value ? 'B has no samples here. Click or drag in its series to choose a part that has.' : 'No samples match.';
}

function Explorer() {
  const failed = types.state.value.error !== '' && sideA.state.value.expression === '';
  if (comparing.value) return <Comparison />;
  return (
    <>
      {!storeEmpty.value && <QueryBar />}
      {failed ? (
        <main class="nothing">
          <h1>The list of profiles could not be read</h1>
          <p class="lead" role="alert">{types.state.value.error}</p>
          <p><button type="button" class="primary" onClick={refresh}>Try again</button></p>
        </main>
      ) : nothingHere.value ? (
        <Nothing />
      ) : (
        <main class="explorer">
          <h1 class="unseen">Explore profiles</h1>
          <SeriesPanel side={sideA} />
          <Reports />
        </main>
      )}
    </>
  );
}

export function App() {
  const type = profileType.value;
  useEffect(() => {
    document.title = route.value === 'targets' ? 'Targets · Decima' : type ? `${describeType(type).title} · Decima` : 'Decima';
  }, [route.value, type]);
  return (
    <div class="app">
      <Header />
      <OpenWarning />
      {signInNeeded.value && <SignIn />}
      {!signInNeeded.value && route.value === 'explore' && (FORWARDS ? <Forwarding /> : <Explorer />)}
      {!signInNeeded.value && route.value === 'targets' && <Targets />}
      {!signInNeeded.value && route.value === 'missing' && (
        <main class="nothing">
          <h1>No such page</h1>
          <p><button type="button" class="primary" onClick={() => go('explore')}>Explore profiles</button></p>
        </main>
      )}
    </div>
  );
}
