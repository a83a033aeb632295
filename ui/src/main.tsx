/**
 * Where the page begins: this small part asks for the profiles, while what draws them is still on
 * its way. `index.html` has the browser fetch both at once.
 */
import './styles/base.css';
import './styles/controls.css';
import './styles/explorer.css';
import './styles/reports.css';
import { markOnce } from './marks';
import { start } from './state/store';
import { startZoom } from './state/zoom';

markOnce('decima:script');
start();
startZoom();
void import('./draw').then(({ draw }) => draw());
