// How long the first picture takes: node dev/measure.mjs [--runs 15] [--path '/?…'] BASE [BASE …]
// Several addresses are visited in turn, so that what else the machine does falls on all of them alike.
// Prints medians in milliseconds since the navigation began: nothing cached ("new"), and visited before ("again").
import { chromium } from 'playwright-core';

const args = process.argv.slice(2);
const option = (name, otherwise) => {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? otherwise : args.splice(at, 2)[1];
};
const runs = Number(option('runs', '15'));
const path = option('path', '/');
const bases = args;

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

async function visit(page, base) {
  await page.goto(base + path);
  for (let i = 0; i < 500; i++) {
    if (await page.evaluate(() => performance.getEntriesByName('decima:flame').length > 0 && window.__decima?.idle)) break;
    await page.waitForTimeout(10);
  }
  await page.waitForTimeout(100);
  return page.evaluate(() => {
    const at = Object.fromEntries(performance.getEntriesByType('mark').map(({ name, startTime }) => [name.replace('decima:', ''), startTime]));
    const resources = performance.getEntriesByType('resource');
    const shown = performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0;
    return {
      ...at,
      paint: shown,
      requests: resources.length + 1,
      kB: resources.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0) / 1000,
      long: window.__long.reduce((sum, ms) => sum + ms, 0),
    };
  });
}

const seen = new Map();
for (let run = 0; run <= runs; run++) {
  for (const base of bases) {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    await context.addInitScript(() => {
      window.__long = [];
      new PerformanceObserver((list) => window.__long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask', buffered: true });
    });
    const page = await context.newPage();
    for (const kind of ['new', 'again']) {
      const result = await visit(page, base);
      // The first round warms the browser up.
      if (run > 0) seen.set(`${base} ${kind}`, [...(seen.get(`${base} ${kind}`) ?? []), result]);
    }
    await context.close();
  }
}
await browser.close();

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];
for (const [name, results] of [...seen].sort()) {
  const of = (key) => `${key} ${Math.round(median(results.map((result) => result[key] ?? NaN)))}`;
  console.log(`${name}: ${['script', 'paint', 'answer', 'flame', 'requests', 'kB', 'long'].map(of).join('  ')}`);
}
