// What the page must do, in a real browser against a real server. Each case: name, how to open
// the page, what to do. Every case also fails on a foreign request, a violation of the content
// policy, an exception or an error on the console.
import { check } from './page.mjs';

const json = (body, status = 200) => ({ status, contentType: 'application/json', body: JSON.stringify(body) });

/** Answers as a store without any profile would. */
const emptyStore = async (page) => {
  await page.route('**/api/profiles/types*', (route) => route.fulfill(json({ types: [] })));
  await page.route('**/api/profiles/has_profile_data*', (route) => route.fulfill(json({ hasData: false })));
};

const text = (page, selector) => page.locator(selector).first().innerText();

/** Mean lightness of the pixels on the flame canvas, 0–255. */
const lightness = () => {
  const canvas = document.querySelector('.flame-canvas');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, 60);
  let sum = 0;
  let seen = 0;
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 0) continue;
    sum += (data[i] + data[i + 1] + data[i + 2]) / 3;
    seen++;
  }
  return { mean: seen ? sum / seen : 0, seen };
};

/** The widest box that is not all of the graph; a profile of one stack has only such. */
const wideChild = (boxes) => {
  const nodes = boxes.filter((box) => box.kind === 'node' && box.depth > 0 && box.width > 12).sort((a, b) => b.width - a.width);
  return nodes.find((box) => box.width < 1200) ?? nodes[0];
};

export const CASES = [
  [
    'opens on a type with data and paints real function names',
    {},
    async ({ page, painted, probe, until, response }) => {
      check(/default-src 'self'/.test(response.headers()['content-security-policy'] ?? ''), 'the page must come with a strict content policy');
      const boxes = await painted();
      const names = boxes.filter((box) => box.kind === 'node' && box.depth > 0).map((box) => box.name);
      check(names.length >= 3, `too few boxes: ${names.length}`);
      check(names.some((name) => /[a-z_]{3,}/i.test(name) && !name.startsWith('0x')), `no function names: ${names.slice(0, 5)}`);
      check(boxes[0].name === 'total' && boxes[0].depth === 0, 'the root must be on top');
      check((await probe(() => window.__decima.expression)).includes(':'), 'no profile type chosen');
      const { seen } = await probe(lightness);
      check(seen > 10_000, `the canvas is blank: ${seen} pixels`);
      check(new URL(page.url()).searchParams.get('expression_a') !== null, 'the address must hold the selector');
      await until('the series graph', () => document.querySelectorAll('.plot canvas').length > 0);
    },
  ],
  [
    'asks for everything at once: no chain longer than two',
    {},
    async ({ painted, requests }) => {
      await painted();
      const calls = requests.filter((request) => request.url().includes('/api/')).length;
      check(calls <= 4, `${calls} calls for the first picture`);
      check(requests.length <= 8, `${requests.length} requests for the first picture`);
    },
  ],
  [
    'zooms by click and back by Escape and by the back button',
    {},
    async ({ page, painted, click, probe, until }) => {
      const box = wideChild(await painted());
      check(box, 'there must be a box to zoom to');
      await click(box);
      await until('the zoom', () => window.__decima.zoomed.length, (length) => length === box.depth);
      const zoomed = (await painted()).find((other) => other.name === box.name && other.depth === box.depth);
      check(zoomed && zoomed.width > 1300, `the zoomed box must fill the width, is ${zoomed?.width}`);
      check(new URL(page.url()).searchParams.get('cur_path'), 'the zoom must be in the address');
      await page.locator('.flame').press('Escape');
      await until('the whole again', () => window.__decima.zoomed.length, (length) => length === 0);
      await page.goBack();
      await until('the zoom again', () => window.__decima.zoomed.length, (length) => length === box.depth);
      await page.reload();
      await painted();
      check((await probe(() => window.__decima.zoomed.length)) === box.depth, 'the zoom must survive a reload');
    },
  ],
  [
    'zooming asks the server for the subtree where it was trimmed',
    {
      // A small budget for the first picture, so that something is trimmed however small the profile is.
      before: (page) => page.route('**/api/profiles/query?*', (route) => {
        const url = new URL(route.request().url());
        if (!url.searchParams.has('focus') && !url.searchParams.has('max_nodes')) url.searchParams.set('max_nodes', '12');
        return route.continue({ url: url.href });
      }),
    },
    async ({ painted, click, requests, probe, until }) => {
      const before = await painted();
      const hidden = before.filter((box) => box.kind === 'hidden').sort((a, b) => b.width - a.width)[0];
      check(hidden, 'what was cut off must be shown as a hatched box');
      const nodes = await probe(() => window.__decima.nodes);
      await click(hidden);
      await until('more nodes', () => (window.__decima.idle ? window.__decima.nodes : 0), (count) => count > nodes);
      const detail = requests.map((request) => new URL(request.url()).searchParams).find((q) => q.has('focus') || q.has('max_nodes'));
      check(detail, 'no request for detail');
      const after = await painted();
      check(after[0].name === 'total', 'the root stays');
      const zoomed = await probe(() => window.__decima.zoomed);
      check(hidden.row === 0 || zoomed[zoomed.length - 1] === hidden.name, `zoomed to ${zoomed}, not to ${hidden.name}`);
      check(!after.some((box) => box.kind === 'hidden' && box.depth === hidden.depth && box.width > 1000), 'the detail must take the place of the hatched box');
    },
  ],
  [
    'search says what share matches, by text and by pattern',
    {},
    async ({ page, painted, until, probe }) => {
      const box = wideChild(await painted());
      await page.keyboard.press('/');
      await page.keyboard.type(box.name);
      const found = await until('a hit', () => window.__decima.search, (search) => search.nodes > 0);
      check(found.share > 0 && found.share <= 1, `share out of range: ${found.share}`);
      check(/%/.test(await text(page, '.search-result')), 'the share must be shown');
      check(new URL(page.url()).searchParams.get('search_string') === box.name, 'the search must be in the address');
      await page.getByRole('button', { name: 'Regular expression' }).click();
      await page.locator('.search input').fill('.');
      await until('everything matches', () => window.__decima.search.nodes === window.__decima.nodes - 1);
      await page.locator('.search input').fill('(');
      await until('a complaint', () => window.__decima.search.error !== '');
      await page.locator('.search input').fill('no_such_function_anywhere');
      await until('no hit', () => window.__decima.search, (search) => search.nodes === 0 && search.error === '');
      check((await probe(() => window.__decima.search.share)) === 0, 'nothing matches');
    },
  ],
  [
    'the table sorts, follows the search, and outlines a function',
    { path: '/?dashboard_items=table,flamegraph' },
    async ({ page, painted, until }) => {
      await painted();
      const flats = () => page.locator('.table-row').evaluateAll((rows) =>
        rows.map((row) => ({ top: new DOMMatrix(getComputedStyle(row).transform).f, name: row.querySelector('.cell.name').title, share: parseFloat(row.querySelector('.cell.flat .share').textContent.replace('<', '')) }))
          .sort((a, b) => a.top - b.top));
      await until('rows', () => document.querySelectorAll('.table-row').length > 0);
      const descending = (await flats()).map(({ share }) => share);
      check(descending.every((share, i) => i === 0 || share <= descending[i - 1]), `not sorted by flat: ${descending.slice(0, 8)}`);
      await page.getByRole('columnheader', { name: 'Function' }).getByRole('button').click();
      check((await page.getByRole('columnheader', { name: 'Function' }).getAttribute('aria-sort')) === 'ascending', 'aria-sort must follow');
      const names = (await flats()).map(({ name }) => name);
      check(names.every((name, i) => i === 0 || name >= names[i - 1]), `not sorted by name: ${names.slice(0, 5)}`);
      const name = names[0];
      await page.locator('.table-row').first().click();
      await until('a pinned row', () => document.querySelectorAll('.table-row.pinned').length === 1);
      check(new URL(page.url()).searchParams.get('pinned_function'), 'the function must be in the address');
      await page.locator('.search input').fill(name);
      await until('fewer rows', () => document.querySelectorAll('.table-row').length, (count) => count >= 1 && count <= names.length);
    },
  ],
  [
    'the keyboard walks through the graph and says where it is',
    {},
    async ({ page, painted, until }) => {
      await painted();
      await page.locator('.flame').focus();
      for (const key of ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowUp', 'ArrowDown']) await page.keyboard.press(key);
      const said = await until('a spoken frame', () => document.querySelector('.flame-status .status-name')?.textContent ?? '');
      check(said.length > 0, 'the status line must name the frame');
      await page.keyboard.press('Enter');
      await until('a zoom', () => window.__decima.zoomed.length > 0);
      await page.keyboard.press('Escape');
      await until('the whole', () => window.__decima.zoomed.length === 0);
    },
  ],
  [
    'the tooltip tells value and share of a frame',
    {},
    async ({ page, painted, until }) => {
      const box = wideChild(await painted());
      await page.mouse.move(box.x + box.width / 2, box.y + 8);
      const said = await until('a tooltip', () => document.querySelector('.flame-tip')?.textContent ?? '');
      check(said.includes(box.name) && said.includes('Cumulative') && said.includes('Flat') && said.includes('%'), `tooltip says: ${said}`);
    },
  ],
  [
    'dark by the system, light by choice, and the choice is kept',
    { colorScheme: 'dark' },
    async ({ page, painted, probe, until }) => {
      await painted();
      const background = () => page.evaluate(() => getComputedStyle(document.querySelector('.header')).backgroundColor);
      const dark = await probe(lightness);
      check(dark.mean < 140, `dark boxes are light: ${dark.mean}`);
      const before = await background();
      await page.getByRole('button', { name: 'Light colours' }).click();
      await until('the light theme', () => document.documentElement.dataset.theme === 'light');
      check((await background()) !== before, 'the background must change');
      check((await probe(lightness)).mean > 170, 'light boxes are dark');
      await page.reload();
      await painted();
      check((await page.evaluate(() => document.documentElement.dataset.theme)) === 'light', 'the choice must be kept');
    },
  ],
  [
    'an empty store shows how to send a first profile, and notices when it comes',
    { before: emptyStore },
    async ({ page, until }) => {
      await until('the instructions', () => document.querySelector('.nothing.first')?.textContent ?? '', (said) =>
        said.includes('decima upload cpu.pb.gz --label service=x') && said.includes('scrape_configs'));
      await page.unroute('**/api/profiles/types*');
      await page.unroute('**/api/profiles/has_profile_data*');
      await until('the graph after data has come', () => window.__decima.visible().length > 1);
    },
  ],
  [
    'a range without data says when there was some and goes there',
    { path: '/?time_selection_a=absolute:1000000000000-1000000900000' },
    async ({ page, painted, until }) => {
      await until('the offer', () => document.querySelector('.nothing')?.textContent ?? '', (said) => /last data at/i.test(said));
      await page.getByRole('button', { name: 'Jump there' }).click();
      await painted();
    },
  ],
  [
    'an error is told in words',
    {
      before: (page) => page.route('**/api/profiles/query?*', (route) => route.fulfill(json({ code: 3, message: 'merge.query: unexpected character', details: [] }, 400))),
      allow: (problem) => /400/.test(problem),
    },
    async ({ until }) => {
      await until('the message', () => document.querySelector('.panel-error')?.textContent ?? '', (said) => said.includes('merge.query: unexpected character'));
    },
  ],
  [
    'matchers complete label names and are applied',
    {},
    async ({ page, painted, until }) => {
      await painted();
      const input = page.getByRole('combobox', { name: 'Matchers' });
      await input.click();
      const names = await until('label names', () => [...document.querySelectorAll('.suggestions [role=option]')].map((option) => option.textContent), (list) => list.length > 0);
      await input.pressSequentially(names[0].slice(0, 2));
      await input.press('Tab');
      check((await input.inputValue()).endsWith('='), `an operator must follow the name: ${await input.inputValue()}`);
      const values = await until('values', () => [...document.querySelectorAll('.suggestions [role=option]')].map((option) => option.textContent), (list) => list.length > 0 && list.join() !== names.join());
      check(values.length > 0, 'a label has values');
      await input.press('ArrowDown');
      await input.press('Enter');
      check(/="[^"]+"$/.test(await input.inputValue()), `a value must be in quotes: ${await input.inputValue()}`);
      await input.press('Enter');
      await until('the selector', () => window.__decima.expression, (expression) => /\{.+="[^"]+"\}/.test(expression));
      await painted();
    },
  ],
  [
    'a click into the series merges there, a drag narrows the range',
    {},
    async ({ page, painted, until }) => {
      await painted();
      const plot = await until('the plot', () => {
        const over = document.querySelector('.plot .u-over')?.getBoundingClientRect();
        return over && { x: over.x, y: over.y, width: over.width, height: over.height };
      });
      await page.mouse.move(plot.x + plot.width * 0.9, plot.y + plot.height / 2);
      await page.mouse.click(plot.x + plot.width * 0.9, plot.y + plot.height / 2);
      await until('the merge', () => new URL(location.href).searchParams.has('merge_from_a'));
      await painted();
      await page.getByRole('button', { name: 'Show the whole time range again' }).click();
      await until('the whole', () => !new URL(location.href).searchParams.has('merge_from_a'));
      await page.mouse.move(plot.x + plot.width * 0.3, plot.y + 20);
      await page.mouse.down();
      await page.mouse.move(plot.x + plot.width - 1, plot.y + 30, { steps: 5 });
      await page.mouse.up();
      await until('the range', () => new URL(location.href).searchParams.get('time_selection_a') ?? '', (range) => range.startsWith('absolute:'));
      await painted();
    },
  ],
  [
    'targets are listed',
    { path: '/targets' },
    async ({ page, until }) => {
      await until('targets', () => document.querySelector('.targets')?.textContent ?? '', (said) => said.length > 30);
      await page.getByRole('link', { name: 'Explore' }).click();
      await until('the explorer', () => document.querySelector('.query-bar') !== null);
    },
  ],
];
