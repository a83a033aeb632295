// A stand-in for the server, for working on the page and for its browser tests.
//   node dev/mock.mjs [--port 7099] [--scenario data|empty|late|big|many] [--prefix /decima] [--delay 0] [--upstream http://127.0.0.1:7070] [--bundle DIR]
// It speaks only what the page asks for, over one made-up profile; with --upstream it serves the bundle that stands
// here and passes all calls on to a real server.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { failureAnswer, readQueryRange, seriesAnswer } from './grpc.mjs';
import { flameArrow, makeProfile, tableArrow } from './profile.mjs';



function options(argv) {
  const out = { port: '7099', scenario: 'data', prefix: '', delay: '0', upstream: '', bundle: '', version: '0.0.0-mock' };
  for (let i = 0; i < argv.length; i += 2) out[argv[i].replace(/^--/, '')] = argv[i + 1];
  return out;
}
const OPTIONS = options(process.argv.slice(2));
const BUNDLE = OPTIONS.bundle || fileURLToPath(new URL('../../crates/server/src/ui/bundle', import.meta.url));
const PREFIX = OPTIONS.prefix.replace(/\/+$/, '');
const STARTED = Date.now();

const type = (name, sampleType, sampleUnit, periodType, periodUnit, delta) => ({ name, sampleType, sampleUnit, periodType, periodUnit, delta });
const TYPES = [
  type('block', 'contentions', 'count', 'contentions', 'count', true),
  type('block', 'delay', 'nanoseconds', 'contentions', 'count', true),
  type('decima_cpu', 'cpu', 'nanoseconds', 'cpu', 'nanoseconds', true),
  type('goroutine', 'goroutine', 'count', 'goroutine', 'count', false),
  type('memory', 'alloc_objects', 'count', 'space', 'bytes', false),
  type('memory', 'alloc_space', 'bytes', 'space', 'bytes', false),
  type('memory', 'inuse_objects', 'count', 'space', 'bytes', false),
  type('memory', 'inuse_space', 'bytes', 'space', 'bytes', false),
  type('mutex', 'delay', 'nanoseconds', 'contentions', 'count', true),
  type('process_cpu', 'cpu', 'nanoseconds', 'cpu', 'nanoseconds', true),
  type('process_cpu', 'samples', 'count', 'cpu', 'nanoseconds', true),
];

const LABELS = {
  instance: ['10.0.3.14:6060', '10.0.3.15:6060', '10.0.4.2:6060'],
  job: ['checkout', 'gateway', 'search'],
  namespace: ['prod', 'staging'],
  region: ['eu-central-1', 'us-east-1'],
  version: ['v2.18.0', 'v2.18.1'],
};

const profile = OPTIONS.upstream ? null : makeProfile(OPTIONS.scenario === 'big' ? 200_000 : 45_000);

// The newest data: now, or some hours ago in the scenario "late".
const dataEnd = () => (OPTIONS.scenario === 'late' ? STARTED - 3 * 3_600_000 : Date.now());
const dataStart = () => STARTED - 6 * 3_600_000;
const overlaps = (from, to) => OPTIONS.scenario !== 'empty' && from < dataEnd() && to > dataStart();

const time = (text, otherwise) => (text ? Date.parse(text) : otherwise);

function series(query, from, to, step, sumBy) {
  const delta = query.includes(':delta');
  const groups = sumBy.length ? LABELS[sumBy[0]] ?? [] : delta ? [''] : LABELS.job;
  const label = sumBy[0] ?? 'job';
  const scale = query.startsWith('memory:inuse_space') || query.startsWith('memory:alloc_space') ? 4e8 : query.startsWith('goroutine') ? 700 : 1;
  return groups.map((group, g) => {
    const samples = [];
    for (let t = Math.floor(Math.max(from, dataStart()) / step) * step; t < Math.min(to, dataEnd()); t += step) {
      const x = t / 60_000;
      const wave = 1.55 + g * 0.6 + 0.35 * Math.sin(x / 3.1 + g) + 0.18 * Math.sin(x * 1.7 + g * 2) + 0.12 * Math.sin(x * 7.3);
      const burst = Math.exp(-(((x % 40) - 22) ** 2) / 4) * 1.9;
      const perSecond = (wave + (g === 0 ? burst : 0)) * scale;
      samples.push({ time: t, value: Math.round(perSecond * (delta ? step * 1e6 : 1)), perSecond });
    }
    return { labels: group === '' ? [] : [{ name: label, value: group }], samples };
  });
}

// Encoding takes this script much longer than it takes the server; it must not be what is measured.
const made = new Map();
function once(key, make) {
  if (!made.has(key)) made.set(key, make());
  return made.get(key);
}

const json = (body, status = 200) => ({ status, type: 'application/json', body: Buffer.from(JSON.stringify(body)) });
const failure = (status, code, message) => json({ code, message, details: [] }, status);

function api(path, q) {
  const side = q.get('mode') === 'MODE_DIFF' ? 'diff.b.merge' : 'merge';
  const start = time(q.get('start') ?? q.get(`${side}.start`), 0);
  const end = time(q.get('end') ?? q.get(`${side}.end`), Date.now());
  if (path === '/profiles/types') return json({ types: overlaps(start, end) ? TYPES : [] });
  if (path === '/profiles/has_profile_data') return json({ hasData: OPTIONS.scenario !== 'empty' });
  if (path === '/profiles/labels') return json({ labelNames: Object.keys(LABELS), warnings: [] });
  const values = /^\/profiles\/labels\/([^/]+)\/values$/.exec(path);
  if (values) return json({ labelValues: LABELS[decodeURIComponent(values[1])] ?? [], warnings: [] });
  if (path === '/targets') return json(targets());
  if (path === '/jobs') return json(jobs());
  if (path === '/senders') return json(senders());
  if (path === '/profiles/query') return query(q, start, end);
  return failure(404, 5, `no such path: ${path}`);
}

const BAD = 'matcher 1: the regular expression "ba(d" misses a closing parenthesis at offset 2';

function queryRange(body) {
  const { query, start, end, step, sumBy } = readQueryRange(body);
  const answer = query.includes('bad')
    ? failureAnswer(3, BAD)
    : overlaps(start, end) && !query.includes('no_such')
      ? seriesAnswer(series(query, start, end, step || end - start, sumBy))
      : failureAnswer(5, 'No data found for the query');
  return { status: 200, type: 'application/grpc-web+proto', body: answer };
}

function query(q, start, end) {
  const compares = q.get('mode') === 'MODE_DIFF';
  const text = q.get(compares ? 'diff.b.merge.query' : 'merge.query') ?? '';
  if (text.includes('bad')) return failure(400, 3, BAD);
  const report = q.get('report_type');
  const tree = overlaps(start, end) && !text.includes('no_such') ? profile : profile.empty();
  const unit = /:(bytes|count|nanoseconds):/.exec(text)?.[1] ?? 'nanoseconds';
  if (report === 'REPORT_TYPE_FLAMEGRAPH_ARROW') {
    // "big" sends every node there is, to see how the page copes.
    const big = OPTIONS.scenario === 'big';
    const answer = once(`${compares} ${tree.total} ${q.get('node_trim_threshold')} ${q.get('max_nodes')} ${q.get('focus')}`, () =>
      flameArrow(tree, {
        threshold: big ? 0 : Number(q.get('node_trim_threshold') ?? 0),
        maxNodes: big ? 1e9 : Number(q.get('max_nodes') ?? 16_384),
        focus: JSON.parse(q.get('focus') ?? '[]'),
        compares,
      }));
    return {
      status: 200,
      type: 'application/vnd.apache.arrow.stream',
      body: Buffer.from(answer.bytes),
      headers: {
        'x-decima-total': String(tree.total),
        'x-decima-filtered': '0',
        'x-decima-unit': unit,
        'x-decima-trimmed': String(answer.trimmed),
        'x-decima-height': String(answer.height),
      },
    };
  }
  if (report === 'REPORT_TYPE_TABLE_ARROW') {
    return { status: 200, type: 'application/vnd.apache.arrow.stream', body: Buffer.from(once(`table ${compares} ${tree.total}`, () => tableArrow(tree, compares))), headers: { 'x-decima-total': String(tree.total), 'x-decima-unit': unit } };
  }
  if (report === 'REPORT_TYPE_PPROF') return { status: 200, type: 'application/octet-stream', body: gzipSync(Buffer.from('mock')) };
  return failure(400, 3, `report_type: ${report} is not served by the mock`);
}

/** `many` shows what a large installation looks like, `empty` what a new one does. */
function targets() {
  if (OPTIONS.scenario === 'empty') return { targets: {} };
  const target = (job, address, lastError = '') => ({
    discoveredLabels: { labels: [{ name: '__address__', value: address }, { name: '__scheme__', value: 'http' }] },
    labels: { labels: [{ name: 'instance', value: address }, { name: 'job', value: job }, { name: 'region', value: 'eu-central-1' }] },
    lastError,
    lastScrape: new Date(Date.now() - 4000).toISOString(),
    lastScrapeDuration: lastError ? '10s' : '0.182s',
    url: `http://${address}/debug/pprof/profile?seconds=10`,
    health: lastError ? 'HEALTH_BAD' : 'HEALTH_GOOD',
  });
  return {
    targets: {
      checkout: { targets: [target('checkout', '10.0.3.14:6060'), target('checkout', '10.0.3.15:6060')] },
      ...(OPTIONS.scenario === 'many' && { fleet: { targets: Array.from({ length: 200 }, (_, n) => target('fleet', `10.1.${n >> 6}.${n & 63}:6060`, n % 40 === 7 ? 'timed out after 13s' : '')) } }),
      gateway: { targets: [target('gateway', '10.0.4.2:6060', 'Get "http://10.0.4.2:6060/debug/pprof/profile": connection refused')] },
    },
  };
}

function jobs() {
  if (OPTIONS.scenario === 'empty') return { jobs: [] };
  const job = (name, good, bad, discoveries, more = {}) => ({ name, good: String(good), bad: String(bad), unknown: '0', dropped: '0', leftOut: '0', error: '', discoveries, ...more });
  const discovery = (kind, subject, count, lastError = '') => ({ kind, subject, targets: String(count), lastSuccess: new Date(Date.now() - (lastError ? 900_000 : 2000)).toISOString(), lastError, failures: lastError ? '31' : '0' });
  return {
    jobs: [
      job('checkout', 2, 0, [discovery('file', '/etc/decima/targets/*.json', 2)]),
      job('gateway', 0, 1, [discovery('consul', 'http://consul.internal:8500/', 1, 'server returned HTTP status 500 Internal Server Error: No cluster leader')], { dropped: '18' }),
      ...(OPTIONS.scenario === 'many' ? [job('fleet', 195, 5, [discovery('kubernetes', 'pod', 1241)], { dropped: '1041' })] : []),
    ],
  };
}

function senders() {
  if (OPTIONS.scenario === 'empty') return { senders: [], total: '0' };
  const sender = (node, address, seconds, protocol, accepted, more = {}, lastError = '') => ({
    node, address, lastError,
    lastPush: new Date(Date.now() - seconds * 1000).toISOString(),
    lastPushDuration: '0.004s',
    counts: [{ protocol, acceptedRequests: String(accepted), samples: String(accepted * 4211), rejectedSamples: '0', repairedStrings: '0', refused: [], ...more }],
  });
  const all = [
    sender('node-7', '10.0.1.7', 4, 'write_arrow', 8640),
    sender('node-8', '10.0.1.8', 9, 'write_arrow', 8511, { repairedStrings: '12', refused: [{ reason: 'out_of_range', requests: '3' }, { reason: 'time', requests: '1' }] }, 'column stacktrace, row 3: dictionary index 99 is out of range (6)'),
    sender('', '10.0.1.99', 2, 'otlp_grpc', 310, { rejectedSamples: '40' }),
    sender('laptop', '10.0.9.1', 4000, 'write_raw', 1),
  ];
  if (OPTIONS.scenario === 'many') for (let n = 10; n < 60; n++) all.push(sender(`node-${n}`, `10.0.1.${n}`, n % 10, 'write_arrow', 8640 - n));
  return { senders: all, total: String(all.length) };
}

const CONTENT_TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

async function page(path) {
  const inAssets = path.startsWith('/assets/');
  const file = inAssets || path === '/favicon.svg' ? normalize(path) : '/index.html';
  try {
    let body = await readFile(join(BUNDLE, file));
    if (file === '/index.html') {
      body = Buffer.from(String(body).replaceAll('{{.PathPrefix}}', PREFIX).replaceAll('{{.Open}}', '').replaceAll('{{.Version}}', OPTIONS.version));
    }
    return { status: 200, type: CONTENT_TYPES[extname(file)] ?? 'application/octet-stream', body, headers: inAssets ? { 'cache-control': 'public, max-age=31536000, immutable' } : {} };
  } catch {
    return failure(404, 5, `no such file: ${file}`);
  }
}

// Assets are compressed once, answers quickly.
const assets = new Map();
function compress({ body, headers }) {
  if (!headers?.['cache-control']) return { encoding: 'gzip', body: gzipSync(body, { level: 1 }) };
  const key = body.toString('latin1');
  if (!assets.has(key)) assets.set(key, brotliCompressSync(body));
  return { encoding: 'br', body: assets.get(key) };
}

async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

/** Passes a call on as it is, and its answer back. */
async function passOn(request, response) {
  const { host, 'accept-encoding': _, ...headers } = request.headers;
  const body = request.method === 'POST' ? await bodyOf(request) : undefined;
  const answer = await fetch(OPTIONS.upstream + request.url, { method: request.method, headers, body });
  const kept = [...answer.headers].filter(([name]) => !['content-encoding', 'content-length', 'transfer-encoding', 'connection'].includes(name));
  response.writeHead(answer.status, Object.fromEntries(kept));
  response.end(Buffer.from(await answer.arrayBuffer()));
}

async function serve(request, response) {
  const url = new URL(request.url, 'http://mock');
  let answer;
  if (!url.pathname.startsWith(PREFIX)) answer = failure(404, 5, 'outside of the prefix');
  else {
    const path = url.pathname.slice(PREFIX.length) || '/';
    if (path.startsWith('/api/')) {
      if (OPTIONS.upstream) return passOn(request, response);
      await new Promise((done) => setTimeout(done, Number(OPTIONS.delay)));
      answer = path.endsWith('.QueryService/QueryRange') ? queryRange(await bodyOf(request)) : api(path.slice('/api'.length), url.searchParams);
    } else answer = await page(path);
  }
  const compressed = compress(answer);
  const { body } = compressed;
  response.writeHead(answer.status, {
    'content-type': answer.type,
    'content-encoding': compressed.encoding,
    'content-length': body.length,
    'content-security-policy': "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'none'",
    'x-content-type-options': 'nosniff',
    ...answer.headers,
  });
  response.end(body);
}

// The page gives requests up when it no longer wants their answers.
createServer((request, response) => serve(request, response).catch(() => response.destroy())).listen(Number(OPTIONS.port), '127.0.0.1', () => console.log(`mock on http://127.0.0.1:${OPTIONS.port}${PREFIX}/`));
