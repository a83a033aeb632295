/** What draws the page, and what goes on once it is drawn. */
import { render } from 'preact';
import { installProbe } from './probe';
import { startLive } from './state/live';
import { startTotals } from './state/totals';
import { App } from './views/App';

export function draw(): void {
  installProbe();
  const root = document.getElementById('app');
  if (root) render(<App />, root);
  startTotals();
  startLive();
}
