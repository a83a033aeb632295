// Screenshots for looking at: node dev/shot.mjs BASE OUT.png [--dark] [--size 1440x900] [--path '/?…'] [--do 'js run in node with page']
import { chromium } from 'playwright-core';

const [base, out, ...rest] = process.argv.slice(2);
const option = (name, otherwise) => (rest.includes(`--${name}`) ? rest[rest.indexOf(`--${name}`) + 1] : otherwise);
const [width, height] = option('size', '1440x900').split('x').map(Number);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = await browser.newPage({ viewport: { width, height }, colorScheme: rest.includes('--dark') ? 'dark' : 'light' });
page.on('console', (message) => ['error', 'warning'].includes(message.type()) && console.log('console:', message.text()));
page.on('pageerror', (error) => console.log('page error:', error.stack));
await page.goto(base + option('path', '/'));
for (let i = 0; i < 100 && !(await page.evaluate(() => window.__decima?.idle)); i++) await page.waitForTimeout(50);
await page.waitForTimeout(300);
const script = option('do', '');
if (script) await new (Object.getPrototypeOf(async function () {}).constructor)('page', script)(page);
await page.waitForTimeout(200);
await page.screenshot({ path: out });
await browser.close();
