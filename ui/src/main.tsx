/** Where the page begins: requests first, then the first paint. */
import { render } from 'preact';
import './styles/base.css';
import './styles/controls.css';
import './styles/explorer.css';
import './styles/reports.css';
import { start } from './state/store';
import { startZoom } from './state/zoom';
import { App } from './views/App';
import { installProbe } from './probe';

start();
startZoom();
installProbe();
const root = document.getElementById('app');
if (root) render(<App />, root);
