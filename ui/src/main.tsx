/**
 * Where the page begins: this small part asks for the profiles, while what draws them is still on
 * its way. `index.html` has the browser fetch both at once.
 */
import './styles/base.css';
import './styles/controls.css';
import './styles/explorer.css';
import './styles/reports.css';
import './state/session';
import { markOnce } from './marks';
import { reportAsked, start } from './state/store';
import { startZoom } from './state/zoom';

/** A slow server does not keep the page from being drawn for longer than one hardly sees. */
const LIST_PATIENCE_MS = 150;

markOnce('decima:script');
start();
startZoom();
// Drawing takes longer than the list of types does: were it first, the profile would be asked for late.
const patience = new Promise<void>((done) => setTimeout(done, LIST_PATIENCE_MS));
void Promise.all([import('./draw'), Promise.race([reportAsked, patience])]).then(([{ draw }]) => draw());
