/** The frame of the page: header, and the view that the address names. */
import { useEffect } from 'preact/hooks';
import { PATH_PREFIX, VERSION } from '../api/fetch';
import { describeType } from '../profile-type';
import { flame, go, nothingHere, page, profileType, refresh, route, series, table, types } from '../state/store';
import { dark, toggleTheme } from '../state/theme';
import { Nothing, storeEmpty } from './Empty';
import { FlamePanel } from './FlamePanel';
import { Icon } from './Icon';
import { MatcherInput } from './MatcherInput';
import { SeriesPanel } from './SeriesPanel';
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
        <NavLink to="explore">Explore</NavLink>
        <NavLink to="targets">Targets</NavLink>
      </nav>
      <span class="header-space" />
      <span class="version">{VERSION}</span>
      <button type="button" class="control icon-only ghost" onClick={toggleTheme} aria-label={dark.value ? 'Light colours' : 'Dark colours'} title={dark.value ? 'Light colours' : 'Dark colours'}>
        <Icon name={dark.value ? 'sun' : 'moon'} />
      </button>
    </header>
  );
}

function QueryBar() {
  const busy = types.state.value.loading || series.state.value.loading || flame.state.value.loading || table.state.value.loading;
  return (
    <div class="query-bar">
      <TypePicker />
      {page.value.expression ? <><MatcherInput /><SumBy /></> : <span class="header-space" />}
      <TimePicker />
      <button type="button" class="control icon-only" onClick={refresh} aria-label="Ask again" title="Ask again">
        <span class={busy ? 'turning' : ''}><Icon name="refresh" /></span>
      </button>
    </div>
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
                <p>{flameState.error}</p>
                <button type="button" class="primary" onClick={refresh}>Try again</button>
              </div>
            )}
            {!flameState.error && !flameState.loading && !flameState.data && flameState.key !== '' && (
              <p class="panel-note">No samples match{page.value.filters ? ' these filters' : ''}.</p>
            )}
          </div>
        )}
      </div>
    </section>
  );
}

function Explorer() {
  const failed = types.state.value.error !== '' && page.value.expression === '';
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
          <SeriesPanel />
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
      {route.value === 'explore' && <Explorer />}
      {route.value === 'targets' && <Targets />}
      {route.value === 'missing' && (
        <main class="nothing">
          <h1>No such page</h1>
          <p><button type="button" class="primary" onClick={() => go('explore')}>Explore profiles</button></p>
        </main>
      )}
    </div>
  );
}
