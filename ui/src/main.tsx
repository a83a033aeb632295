/** Where the page begins: requests first, then the first paint. */
import { render } from 'preact';
import './styles/base.css';
import './styles/controls.css';
import './styles/explorer.css';
import './styles/reports.css';
import { start } from './state/store';
import { startLive } from './state/live';
import { startTotals } from './state/totals';
import { startZoom } from './state/zoom';
import { markOnce } from './marks';
import { App } from './views/App';
import { installProbe } from './probe';

markOnce('decima:script');
start();
startZoom();
startTotals();
startLive();
installProbe();
const root = document.getElementById('app');
if (root) render(<App />, root);
