// What the page must do, in a real browser against a real server. Each case: name, how to open
// the page, what to do. Every case also fails on a foreign request, a violation of the content
// policy, an exception or an error on the console.
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { check } from './page.mjs';
import { answerFlame, comparedFlame, largeFlame, storeAddress, storeFrames } from './reports.mjs';

const AXE = fileURLToPath(new URL('../node_modules/axe-core/axe.min.js', import.meta.url));

const json = (body, status = 200) => ({ status, contentType: 'application/json', body: JSON.stringify(body) });

/** Answers as a store without any profile would. */
const emptyStore = async (page) => {
  await page.route('**/api/profiles/types*', (route) => route.fulfill(json({ types: [] })));
  await page.route('**/api/profiles/has_profile_data*', (route) => route.fulfill(json({ hasData: false })));
};

/** A store that has no profiles over time until `page.cpuHasCome`. */
const typesArrive = (page) => page.route('**/api/profiles/types*', async (route) => {
  if (page.cpuHasCome) return route.continue();
  const response = await route.fetch();
  const { types = [] } = await response.json();
  return route.fulfill(json({ types: types.filter(({ delta }) => !delta) }));
});

/** Finds barriers for assistive technology in what a page shows. */
const auditor = async (page) => {
  const source = await readFile(AXE, 'utf8');
  return async (where) => {
    await page.evaluate(source);
    const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map(({ target, any }) => `${target} ${any[0]?.message ?? ''}`).join(' | ')}`);
    check(said.length === 0, `${where}: ${said.join('; ')}`);
  };
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

/** A job whose discovery is in trouble. */
const JOB = {
  name: 'api', good: '1', bad: '1', unknown: '1', dropped: '4', leftOut: '0', error: '',
  discoveries: [{ kind: 'consul', subject: 'http://consul:8500/', targets: '7', lastSuccess: null, lastError: 'server returned HTTP status 500: No cluster leader', failures: '2' }],
};

/** One that sends, and one that is refused, as of now: the cases before this one take their time. */
const senders = () => [
  { node: '', address: '10.0.1.9', lastError: '', lastPush: new Date(Date.now() - 4000).toISOString(), lastPushDuration: '0.004s', counts: [{ protocol: 'otlp_grpc', acceptedRequests: '3', samples: '9', rejectedSamples: '0', repairedStrings: '0', refused: [] }] },
  { node: 'node-8', address: '10.0.1.8', lastError: 'column stacktrace, row 3: dictionary index 99 is out of range (6)', lastPush: new Date(Date.now() - 9000).toISOString(), lastPushDuration: '0.004s', counts: [{ protocol: 'write_arrow', acceptedRequests: '8', samples: '9', rejectedSamples: '0', repairedStrings: '2', refused: [{ reason: 'out_of_range', requests: '3' }] }] },
];

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
      // The icon of the tab is the browser's own affair.
      const count = requests.filter((request) => !request.url().includes('favicon')).length;
      check(count <= 8, `${count} requests for the first picture`);
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
      const flats = () => page.locator('.table-row').evaluateAll((rows) => {
        // A frame without a function says why behind its name.
        const nameOf = (cell) => cell.title.slice(0, cell.title.length - (cell.querySelector('.unresolved') ? `: ${cell.querySelector('.unresolved').textContent}`.length : 0));
        return rows.map((row) => ({ top: new DOMMatrix(getComputedStyle(row).transform).f, name: nameOf(row.querySelector('.cell.name')), share: parseFloat(row.querySelector('.cell.flat .share').textContent.replace('<', '')) }))
          .sort((a, b) => a.top - b.top);
      });
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
    'values that add up to less than nothing are told, and the table has them',
    {},
    async ({ page, base, until }) => {
      // One sample of −5000 bytes in a function `gone`.
      const rawProfile = 'CgQIARACEg8KAQESCvjY/////////wEiCAgBIgQIARADKgYIARADGAMyADIFc3BhY2UyBWJ5dGVzMgRnb25lUICU69wDWgQIARACYAE=';
      const labels = [{ name: '__name__', value: 'decima_memory' }, { name: 'job', value: 'page' }];
      const answer = await page.request.post(`${base}/api/profiles/writeraw`, { data: { series: [{ labels: { labels }, samples: [{ rawProfile }] }] } });
      check(answer.ok(), await answer.text());
      await page.goto(`${base}/?expression_a=decima_memory:space:bytes:space:bytes:delta{job="page"}`);
      await until('the words', () => document.querySelector('.flame-frame .panel-note')?.textContent ?? '', (said) => /add up to [-−]4\.88 KiB/.test(said) && /table/.test(said));
      await page.goto(`${base}/?expression_a=decima_memory:space:bytes:space:bytes:delta{job="page"}&dashboard_items=table`);
      await until('the function', () => [...document.querySelectorAll('.table-panel [role=row], [role=row]')].map((row) => row.textContent).join(' '), (rows) => /gone/.test(rows) && /[-−]100\.0 %/.test(rows));
    },
  ],
  [
    'a link whose selector has no type keeps its matchers',
    { path: '/?expression_a={job="nobody"}' },
    async ({ until }) => {
      await until('the selector', () => window.__decima.expression, (expression) => /^\w.*\{job="nobody"\}$/.test(expression));
    },
  ],
  [
    'an error is told in words, and another attempt is offered',
    {
      before: (page) => page.route('**/api/profiles/query?*', (route) => route.fulfill(json({ code: 3, message: 'merge.query: unexpected character', details: [] }, 400))),
      allow: (problem) => /400/.test(problem),
    },
    async ({ page, painted, until }) => {
      await until('the message', () => document.querySelector('.panel-error')?.textContent ?? '', (said) => said.includes('merge.query: unexpected character'));
      await page.unroute('**/api/profiles/query?*');
      await page.getByRole('button', { name: 'Try again' }).click();
      await painted();
    },
  ],
  [
    'a server that is away for a while is asked again without a click',
    {
      before: async (page) => {
        page.away = true;
        await page.route('**/api/**', (route) => (page.away ? route.abort('connectionrefused') : route.continue()));
      },
      allow: (problem) => /ERR_CONNECTION_REFUSED|ERR_FAILED/.test(problem),
    },
    async ({ page, painted, until }) => {
      await until('the words', () => document.querySelector('[role=alert]')?.textContent ?? '', (said) => /does not answer/.test(said));
      page.away = false;
      await painted();
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
      // Any label of the series themselves; what only some samples have may not be in these profiles.
      const name = names.find((label) => ['job', 'instance', 'service'].includes(label)) ?? names[0];
      await input.pressSequentially(name.slice(0, 2));
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
    'the series are walked by keys as well',
    {},
    async ({ page, painted, until }) => {
      await painted();
      await until('the plot', () => document.querySelector('.plot .u-over') !== null);
      await page.locator('.plot').focus();
      await page.keyboard.press('ArrowLeft');
      const last = await until('the newest point', () => document.querySelector('.series-tip')?.textContent ?? '');
      check(/\d\d:\d\d:\d\d/.test(last), `a point has a time: ${last}`);
      await page.keyboard.press('Enter');
      await until('the merge', () => new URL(location.href).searchParams.has('merge_from_a'));
      await painted();
      await page.locator('.plot').press('Escape');
      await until('the whole', () => !new URL(location.href).searchParams.has('merge_from_a'));
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
  [
    'a new store: CPU profiles are noticed when they come, without a reload',
    { before: (page) => typesArrive(page) },
    async ({ page, painted, until, requests }) => {
      await until('the first picture, of a state', () => window.__decima?.expression ?? '', (expression) => expression !== '' && !expression.includes(':delta'));
      page.cpuHasCome = true;
      await until('the better type', () => window.__decima.expression, (expression) => expression.includes(':delta'));
      await painted();
      check(new URL(page.url()).searchParams.get('expression_a').includes(':delta'), 'the address must follow');
      const pages = requests.filter((request) => request.isNavigationRequest()).length;
      check(pages === 1, `${pages} loads of the page`);
    },
  ],
  [
    'a new store: what the reader looks at stays, and the news is announced',
    { before: (page) => typesArrive(page) },
    async ({ page, painted, click, until, probe }) => {
      const box = wideChild(await painted());
      await click(box);
      await until('the zoom', () => window.__decima.zoomed.length > 0);
      const before = await probe(() => window.__decima.expression);
      page.cpuHasCome = true;
      await until('the announcement', () => document.querySelector('.control.news')?.getAttribute('aria-label') ?? '', (said) => /new profiles/i.test(said));
      check((await probe(() => window.__decima.expression)) === before, 'the type must stay');
      check((await probe(() => window.__decima.zoomed.length)) > 0, 'the zoom must stay');
    },
  ],
  [
    'a selector without data is told in words and is no error',
    {},
    async ({ page, base, painted, probe, until }) => {
      await painted();
      const expression = (await probe(() => window.__decima.expression)).replace(/\{.*/, '{no_such_label="x"}');
      await page.goto(`${base}/?expression_a=${encodeURIComponent(expression)}`);
      await until('the words', () => document.querySelector('.nothing')?.textContent ?? '', (said) => /no profile matches/i.test(said) && /no data was found/i.test(said));
    },
  ],
  [
    'compares two parts: from the page, and from the address',
    {},
    async ({ page, base, painted, probe, until }) => {
      await painted();
      await page.getByRole('button', { name: 'Compare' }).click();
      await until('two series', () => document.querySelectorAll('.compared .plot canvas').length, (count) => count === 2);
      await painted();
      const q = () => new URL(page.url()).searchParams;
      check(q().get('compare_a') === 'true' && q().get('compare_b') === 'true', 'the comparison must be in the address');
      check(q().has('merge_from_a') && q().has('merge_from_b') && q().get('expression_b') === q().get('expression_a'), 'both sides must be in the address');
      check(Number(q().get('merge_to_a')) < Number(q().get('merge_to_b')), 'A must be the earlier part');
      check((await page.locator('.compared .part').allInnerTexts()).every((part) => /\d\d:\d\d/.test(part)), 'each side must say which part of it is compared');
      await until('the scale of colours', () => document.querySelector('.scale')?.textContent ?? '', (said) => /less.*more/.test(said));

      const box = wideChild(await painted());
      await page.mouse.move(box.x + box.width / 2, box.y + 8);
      await until('the change in the tooltip', () => document.querySelector('.flame-tip')?.textContent ?? '', (said) => /Base/.test(said) && /Change/.test(said));
      await page.mouse.move(5, 5);

      await page.getByRole('button', { name: 'Table', exact: true }).click();
      await until('changes in the table', () => document.querySelectorAll('.table-row .cell.change').length > 0);
      const changes = await page.locator('.table-row').evaluateAll((rows) => rows
        .map((row) => ({ top: new DOMMatrix(getComputedStyle(row).transform).f, sign: row.querySelector('.cell.flatDiff').className.match(/more|less|same/)[0] }))
        .sort((a, b) => a.top - b.top).map(({ sign }) => ['more', 'same', 'less'].indexOf(sign)));
      check(changes.every((sign, i) => i === 0 || sign >= changes[i - 1]), `growth must come first: ${changes}`);

      await page.getByRole('button', { name: 'Values', exact: true }).click();
      await until('the way of comparing in the address', () => new URL(location.href).searchParams.get('compare_absolute') === 'true');
      const [from, to] = [q().get('merge_from_a'), q().get('merge_from_b')];
      await page.getByRole('button', { name: 'Swap' }).click();
      await until('the sides', () => new URL(location.href).searchParams.get('merge_from_a'), (now) => now === to);
      check(q().get('merge_from_b') === from, 'the sides must be swapped');

      await page.getByRole('button', { name: 'Flame graph', exact: true }).click();
      await page.reload();
      await painted();
      check((await page.locator('.compared').count()) === 2, 'an address of a comparison must open it');
      await page.getByRole('button', { name: /^Close A/ }).click();
      await until('one side', () => document.querySelectorAll('.compared').length === 0 && !new URL(location.href).searchParams.has('compare_a'));
      await painted();
      check(q().get('merge_from_a') === from, 'what was B must stay');
      check((await probe(() => document.querySelector('.scale'))) === null, 'the colours of a comparison must go');

      // As one writes it by hand: B inherits the selector, and both are all of their range.
      const expression = await probe(() => window.__decima.expression);
      await page.goto(`${base}/?compare_a=true&compare_b=true&expression_a=${encodeURIComponent(expression)}`);
      await painted();
      check((await page.locator('.compared').count()) === 2, 'a short address of a comparison must open it');
      await until('the hint', () => document.querySelector('.subject .notice')?.textContent ?? '', (said) => /the same/.test(said));
    },
  ],
  [
    'a comparison colours growth red, decline blue, and the same grey',
    { before: (page) => answerFlame(page, comparedFlame()) },
    async ({ page, painted }) => {
      await painted();
      await page.getByRole('button', { name: 'Compare' }).click();
      const boxes = await painted();
      const colourOf = async (name) => {
        const box = boxes.find((candidate) => candidate.name === name);
        check(box, `no box named ${name}`);
        return page.evaluate(({ x, y }) => {
          const canvas = document.querySelector('.flame-canvas');
          const frame = canvas.getBoundingClientRect();
          const [r, g, b] = canvas.getContext('2d').getImageData((x - frame.x) * devicePixelRatio, (y - frame.y) * devicePixelRatio, 1, 1).data;
          return { r, g, b };
        }, { x: box.x + box.width - 12, y: box.y + 10 });
      };
      const more = await colourOf('grown');
      const less = await colourOf('shrunk');
      const same = await colourOf('same');
      check(more.r > more.b + 40, `growth is ${JSON.stringify(more)}`);
      check(less.b > less.r + 40, `decline is ${JSON.stringify(less)}`);
      check(Math.max(same.r, same.g, same.b) - Math.min(same.r, same.g, same.b) < 16, `the same is ${JSON.stringify(same)}`);
    },
  ],
  [
    'the wheel zooms about the pointer, a drag moves, Escape shows the whole',
    {},
    async ({ page, painted, probe, until }) => {
      const box = wideChild(await painted());
      const at = { x: box.x + box.width / 2, y: box.y + 8 };
      await page.mouse.move(at.x, at.y);
      await page.keyboard.down('Control');
      await page.mouse.wheel(0, -400);
      await page.keyboard.up('Control');
      await until('a free zoom', () => window.__decima.span, ({ start, end }) => end - start < 0.6);
      const under = (await painted()).find((other) => other.name === box.name && other.depth === box.depth && other.x <= at.x && other.x + other.width >= at.x);
      check(under, 'what was under the pointer must still be there');
      const before = await probe(() => window.__decima.span.start);
      const by = before > 0.2 ? 60 : -60;
      await page.mouse.down();
      await page.mouse.move(at.x + by, at.y, { steps: 4 });
      await page.mouse.up();
      await until('a drag to move the graph', () => window.__decima.span.start, (now) => (now < before) === (by > 0) && now !== before);
      check((await probe(() => window.__decima.zoomed.length)) === 0, 'a drag is no click');
      await page.locator('.flame').press('Escape');
      await until('the whole', () => window.__decima.span.end - window.__decima.span.start === 1);
      await page.locator('.flame').press('+');
      await until('a zoom by key', () => window.__decima.span.end - window.__decima.span.start < 1);
      await page.locator('.flame').press('0');
      await until('the whole again', () => window.__decima.span.end - window.__decima.span.start === 1);
    },
  ],
  [
    'what the server says about the numbers is shown',
    {
      before: (page) => page.route('**/api/profiles/query?*', async (route) => {
        const response = await route.fetch();
        await route.fulfill({ response, headers: { ...response.headers(), 'x-decima-notice': 'negative values are shown as 0' } });
      }),
    },
    async ({ painted, until }) => {
      await painted();
      await until('the notice', () => document.querySelector('.chip.notice')?.textContent ?? '', (said) => said.includes('negative values are shown as 0'));
    },
  ],
  [
    'a frame without a function says why, in the graph and in the table',
    {},
    async ({ page, base, painted, until }) => {
      const selector = encodeURIComponent(await storeAddress(base));
      await page.goto(`${base}/?expression_a=${selector}&dashboard_items=table,flamegraph`);
      const box = (await painted()).find(({ name }) => name === '0x401040');
      check(box, 'there must be a box for the address');
      await page.mouse.move(box.x + box.width / 2, box.y + 8);
      const why = 'no debuginfo for this build ID';
      await until('the reason in the tooltip', () => document.querySelector('.flame-tip .unresolved')?.textContent, (said) => said === why);
      await until('the reason in the table', () => document.querySelector('.table-row .unresolved')?.textContent, (said) => said === why);
    },
  ],
  [
    'a frame tells what runs it, in the graph, in the table and by its colour',
    {},
    async ({ page, base, painted, probe, until }) => {
      const selector = encodeURIComponent(await storeFrames(base));
      await page.goto(`${base}/?expression_a=${selector}&dashboard_items=table,flamegraph`);
      const boxes = await painted();
      for (const [name, type] of [['main', 'native'], ['sys_read', 'kernel'], ['parse', 'cpython']]) {
        const box = boxes.find((box) => box.name === name);
        check(box, `there must be a box for ${name}`);
        await page.mouse.move(box.x + box.width / 2, box.y + 8);
        await until(`${type} in the tooltip`, () => document.querySelector('.flame-tip .frame-type')?.textContent, (said) => said === type);
      }
      const badges = () => Array.from(document.querySelectorAll('.table-row'), (row) => `${row.querySelector('.name').title}: ${row.querySelector('.frame-type')?.textContent ?? ''}`).join(', ');
      await until('types in the table', badges, (said) => said === 'sys_read: kernel, parse: cpython, main: ');
      await page.getByRole('button', { name: 'Type', exact: true }).click();
      await page.mouse.move(5, 5);
      const legend = () => Array.from(document.querySelectorAll('.status-legend .legend-entry'), (entry) => entry.textContent.trim()).join(', ');
      await until('a legend of types', legend, (said) => /^kernel 60.*, cpython 40/.test(said));
      const colours = await probe(() => Array.from(document.querySelectorAll('.table-row .swatch'), (swatch) => getComputedStyle(swatch).backgroundColor));
      check(new Set(colours).size === 3, `three types must have three colours: ${colours}`);
      check((await probe(() => location.search)).includes('color_by=type'), 'the choice must stand in the address');
    },
  ],
  [
    '200,000 nodes: read by a worker, and no frame that one can see is dropped',
    { before: (page) => answerFlame(page, largeFlame()) },
    async ({ page, painted, probe, until, note }) => {
      const boxes = await painted();
      const nodes = await probe(() => window.__decima.nodes);
      check(nodes > 190_000, `only ${nodes} nodes`);
      check(page.workers().length === 1, 'a large report is for a worker');
      const tasks = await probe(() => window.__longTasks.map((ms) => Math.round(ms)));
      note(`long tasks until the picture was there: ${tasks.join(', ') || 'none'} ms`);
      const frames = async (what, act) => {
        await page.evaluate(() => window.__frames.begin());
        await act();
        const seen = await page.evaluate(() => window.__frames.end());
        check(seen.count > 5, `${what}: only ${seen.count} frames`);
        note(`${what}: ${seen.count} frames, script ${seen.script} ms, between frames p50 ${seen.p50} p95 ${seen.p95} max ${seen.max} ms`);
      };
      const middle = { x: 700, y: boxes[0].y + 60 };
      await page.mouse.move(middle.x, middle.y);
      await page.keyboard.down('Control');
      await frames('zoom by wheel', async () => {
        for (let i = 0; i < 30; i++) await page.mouse.wheel(0, i < 15 ? -120 : 100);
      });
      await page.keyboard.up('Control');
      await page.mouse.down();
      await frames('move by drag', async () => {
        for (let i = 0; i < 30; i++) await page.mouse.move(middle.x + Math.sin(i / 4) * 300, middle.y);
      });
      await page.mouse.up();
      await frames('search, a letter at a time', async () => {
        await page.locator('.search input').pressSequentially('json.(*encodeState', { delay: 30 });
      });
      await until('hits', () => window.__decima.search.nodes > 0);
      await page.locator('.search input').fill('');
      await frames('scroll', async () => {
        await page.mouse.move(middle.x, middle.y);
        for (let i = 0; i < 20; i++) await page.mouse.wheel(0, i < 10 ? 80 : -80);
      });
      await frames('walk by keys', async () => {
        await page.locator('.flame').focus();
        for (let i = 0; i < 20; i++) await page.keyboard.press(i % 3 ? 'ArrowDown' : 'ArrowRight');
      });
    },
  ],
  ...['light', 'dark'].map((colorScheme) => [
    `no barriers for assistive technology, ${colorScheme}`,
    { colorScheme },
    async ({ page, painted, until }) => {
      const audit = await auditor(page);
      await painted();
      await page.getByRole('button', { name: 'Both', exact: true }).click();
      await until('rows', () => document.querySelectorAll('.table-row').length > 0);
      await audit('graph and table');
      await page.getByRole('button', { name: /^Profile type/ }).click();
      await audit('list of types');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: /^Time range/ }).click();
      await audit('time range');
      await page.keyboard.press('Escape');
      await page.getByRole('button', { name: 'Compare' }).click();
      await until('two series', () => document.querySelectorAll('.compared .plot canvas').length, (count) => count === 2);
      await painted();
      await audit('comparison');
      await page.getByRole('link', { name: 'Targets' }).click();
      await until('targets', () => document.querySelectorAll('.targets td').length > 0);
      await audit('targets');
    },
  ]),
  [
    'every control can be reached by Tab and shows that it has the focus',
    {},
    async ({ page, painted }) => {
      await painted();
      const seen = new Set();
      for (let i = 0; i < 40; i++) {
        await page.keyboard.press('Tab');
        const at = await page.evaluate(() => {
          const element = document.activeElement;
          if (!element || element === document.body) return null;
          const ring = (one) => getComputedStyle(one).outlineStyle !== 'none' && parseFloat(getComputedStyle(one).outlineWidth) > 0;
          return {
            name: element.getAttribute('aria-label') || element.textContent.trim().slice(0, 40) || element.tagName,
            ring: ring(element) || (element.parentElement !== null && ring(element.parentElement)),
          };
        });
        if (!at) break;
        seen.add(at.name);
        check(at.ring, `${at.name} does not show that it has the focus`);
      }
      for (const name of [/^Decima/, /^Profile type/, /^Matchers/, /^Time range/, /^Compare/, /^Series/, /^Search functions/, /^Flame graph,/]) {
        check([...seen].some((one) => name.test(one)), `${name} is not reached: ${[...seen].join(' · ')}`);
      }
    },
  ],
  [
    'narrow windows: nothing is cut off sideways',
    {},
    async ({ page, painted }) => {
      const narrow = async (what) => {
        for (const width of [1024, 768, 390]) {
          await page.setViewportSize({ width, height: 800 });
          await painted();
          const wide = await page.evaluate(() => ({
            page: document.documentElement.scrollWidth - innerWidth,
            controls: [...document.querySelectorAll('button, input')].filter((one) => {
              const box = one.getBoundingClientRect();
              return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1) && !one.closest('.legend, .status-legend, .table-head');
            }).map((one) => one.getAttribute('aria-label') || one.textContent),
          }));
          check(wide.page <= 0, `${what}, ${width}: the page is ${wide.page} px wider than the window`);
          check(wide.controls.length === 0, `${what}, ${width}: out of the window: ${wide.controls.join(', ')}`);
        }
      };
      await narrow('one');
      await page.getByRole('button', { name: 'Compare' }).click();
      await narrow('a comparison');
    },
  ],
  [
    'with reduced motion nothing turns or slides',
    { reducedMotion: 'reduce' },
    async ({ page, painted }) => {
      await painted();
      // A slow answer, so that progress is being shown.
      await page.route('**/api/profiles/query?*', async (route) => {
        await new Promise((done) => setTimeout(done, 1500));
        await route.continue();
      });
      await page.getByRole('button', { name: 'Ask again' }).click();
      await page.waitForTimeout(500);
      const moving = await page.evaluate(() => document.getAnimations().map((animation) => animation.animationName ?? animation.transitionProperty));
      check(moving.length === 0, `still moving: ${moving.join(', ')}`);
      await painted();
    },
  ],
  [
    'targets tell health, last scrape and last error',
    {
      path: '/targets',
      before: async (page) => {
        await page.route('**/api/jobs*', (route) => route.fulfill(json({ jobs: [JOB] })));
        await page.route('**/api/senders*', (route) => route.fulfill(json({ senders: senders(), total: '2' })));
        await page.route('**/api/targets*', (route) => route.fulfill(json({
        targets: {
          api: {
            targets: [
              { labels: { labels: [{ name: 'job', value: 'api' }] }, lastError: '', lastScrape: new Date(Date.now() - 4000).toISOString(), lastScrapeDuration: '0.182s', url: 'http://a:1/debug/pprof/heap', health: 'HEALTH_GOOD' },
              { labels: { labels: [{ name: 'job', value: 'api' }] }, lastError: 'connection refused', lastScrape: new Date(Date.now() - 9000).toISOString(), lastScrapeDuration: '10s', url: 'http://b:1/debug/pprof/heap', health: 'HEALTH_BAD' },
              { labels: { labels: [] }, lastError: '', lastScrape: '0001-01-01T00:00:00Z', lastScrapeDuration: '0s', url: 'http://c:1/', health: 'HEALTH_UNKNOWN_UNSPECIFIED' },
            ],
          },
        },
        })));
      },
    },
    async ({ page, until }) => {
      const rows = await until('three targets', () => [...document.querySelectorAll('.targets table:not(.senders) tbody tr')].map((row) => row.textContent), (all) => all.length === 3);
      const of = (address) => rows.find((row) => row.includes(address)) ?? '';
      check(/up/.test(of('//a:1')) && /[4-8] s ago/.test(of('//a:1')) && /182 ms/.test(of('//a:1')), of('//a:1'));
      check(/down/.test(of('//b:1')) && /connection refused/.test(of('//b:1')), of('//b:1'));
      check(/not scraped yet/.test(of('//c:1')) && /never/.test(of('//c:1')), of('//c:1'));
      check(rows[0].includes('connection refused'), 'what is down comes first');
      const discovery = await until('its discovery', () => document.querySelector('.discoveries li')?.textContent ?? '');
      check(/fails/.test(discovery) && /consul/.test(discovery) && /No cluster leader/.test(discovery), discovery);
      const shown = await until('two senders', () => [...document.querySelectorAll('.senders tbody tr')].map((row) => row.textContent), (all) => all.length === 2);
      check(/refused/.test(shown[0]) && /row 3/.test(shown[0]) && /3 out of range/.test(shown[0]) && /10\.0\.1\.8/.test(shown[0]), shown[0]);
      check(/sends/.test(shown[1]) && /OTLP/.test(shown[1]) && /[4-9] s ago/.test(shown[1]), shown[1]);
      await page.getByRole('textbox', { name: 'Find a target or sender' }).fill('connection refused');
      await until('the one', () => document.querySelectorAll('.targets tbody tr').length === 1);
      await page.getByRole('textbox', { name: 'Find a target or sender' }).fill('node-8');
      await until('the sender', () => document.querySelectorAll('.senders tbody tr').length === 1 && document.querySelectorAll('.targets table').length === 1);
    },
  ],
  [
    'the first picture: how long it takes',
    {},
    async ({ page, painted, note }) => {
      await painted();
      const marks = () => page.evaluate(() => Object.fromEntries(performance.getEntriesByType('mark').map(({ name, startTime }) => [name.slice('decima:'.length), Math.round(startTime)])));
      note(`first visit: ${JSON.stringify(await marks())}`);
      for (let i = 0; i < 3; i++) {
        await page.goto(page.url());
        await painted();
        const seen = await marks();
        check(seen.script <= seen.answer && seen.answer <= seen.flame, `marks out of order: ${JSON.stringify(seen)}`);
        note(`again: ${JSON.stringify(seen)}`);
      }
    },
  ],
  [
    'signing in: asked for when the server refuses, once',
    {
      // A store that knows one token, and who has shown it.
      before: async (page) => {
        page.signedIn = false;
        const refusal = { code: 16, message: 'a token is needed', details: [] };
        await page.route('**/api/**', (route) => {
          const request = route.request();
          if (new URL(request.url()).pathname.endsWith('/api/session')) {
            const right = request.headers().authorization === 'Bearer right';
            if (request.method() === 'DELETE') page.signedIn = false;
            else if (right) page.signedIn = true;
            else return route.fulfill(json({ ...refusal, message: 'the token is not valid' }, 401));
            return route.fulfill({ status: 204 });
          }
          return page.signedIn ? route.continue() : route.fulfill(json(refusal, 401));
        });
      },
      allow: (problem) => /401/.test(problem),
    },
    async ({ page, painted }) => {
      const token = page.getByLabel('Token');
      await token.waitFor();
      check((await text(page, 'h1')) === 'Sign in', 'it asks who is there');
      await (await auditor(page))('signing in');
      await token.fill('wrong');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await page.getByText('the token is not valid').waitFor();
      await token.fill('right');
      await page.getByRole('button', { name: 'Sign in' }).click();
      await painted();
      check((await token.count()) === 0, 'it does not ask again');
      check(!(await page.evaluate(() => JSON.stringify({ ...localStorage }))).includes('right'), 'the token is kept nowhere');
      await page.getByRole('button', { name: 'Sign out' }).click();
      await token.waitFor();
    },
  ],
];
