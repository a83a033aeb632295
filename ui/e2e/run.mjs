// Browser tests of the page against a running server:
//   node e2e/run.mjs --base http://127.0.0.1:7070 [--only name] [--shots DIR]
// Prints a line per test and `N passed, N failed`; the exit code says whether all passed.
// The server needs profiles of some CPU type. Chromium is /usr/bin/chromium or $CHROMIUM.
import { chromium } from 'playwright-core';
import { CASES } from './cases.mjs';
import { openPage } from './page.mjs';

const option = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at > 0 ? process.argv[at + 1] : otherwise;
};
const base = (option('base', 'http://127.0.0.1:7099')).replace(/\/+$/, '');
const only = option('only', '');
const shots = option('shots', '');
/** A case that takes longer than this has hung. */
const CASE_MS = 60_000;

/** A store that has just been started needs a moment for its first profile. */
const FIRST_PROFILE_MS = 60_000;

async function waitForData() {
  const end = Date.now() + FIRST_PROFILE_MS;
  for (;;) {
    // A store that profiles itself has its heap at once and its CPU time, which the cases look at, seconds later.
    const answer = await fetch(`${base}/api/profiles/types`).then((response) => response.json()).catch(() => ({}));
    if (answer.types?.some((type) => type.delta)) return;
    if (Date.now() > end) {
      console.log(`no profile arrived at ${base} within ${FIRST_PROFILE_MS / 1000} s\n0 passed, 1 failed`);
      process.exit(1);
    }
    await new Promise((done) => setTimeout(done, 250));
  }
}
await waitForData();

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

let passed = 0;
let failed = 0;
for (const [name, options, run] of CASES) {
  if (only && !name.includes(only)) continue;
  const opened = await openPage(browser, base, options);
  const started = Date.now();
  let timer;
  try {
    await Promise.race([
      run(opened),
      new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`took longer than ${CASE_MS / 1000} s`)), CASE_MS);
      }),
    ]);
    opened.expectClean();
    passed++;
    console.log(`ok    ${name} (${Date.now() - started} ms)`);
    for (const line of opened.notes) console.log(`      ${line}`);
  } catch (error) {
    failed++;
    console.log(`FAIL  ${name}\n      ${String(error?.stack ?? error).split('\n').slice(0, 4).join('\n      ')}`);
    for (const problem of opened.problems) console.log(`      page: ${problem}`);
  } finally {
    clearTimeout(timer);
    if (shots) await opened.page.screenshot({ path: `${shots}/${name.replace(/\W+/g, '-')}.png` }).catch(() => undefined);
    await opened.close();
  }
}
await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed > 0 || passed === 0 ? 1 : 0);
