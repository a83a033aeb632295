// Made-up reports for what a small store cannot show: many nodes, known changes.
import { flameArrow, makeProfile } from '../dev/profile.mjs';

/** Every request for a flame graph is answered with `report`. */
export const answerFlame = (page, report) =>
  page.route(
    (url) => url.pathname.endsWith('/api/profiles/query') && url.searchParams.get('report_type') === 'REPORT_TYPE_FLAMEGRAPH_ARROW',
    (route) => route.fulfill({
      status: 200,
      contentType: 'application/vnd.apache.arrow.stream',
      headers: { 'x-decima-total': String(report.total), 'x-decima-unit': 'nanoseconds' },
      body: report.body,
    }),
  );

let large;
/** About 200,000 nodes, all sent. */
export function largeFlame() {
  if (!large) {
    const profile = makeProfile(200_000);
    large = { total: profile.total, body: Buffer.from(flameArrow(profile, { threshold: 0, maxNodes: 1e9, focus: [] }).bytes) };
  }
  return large;
}

const varint = (value) => {
  const bytes = [];
  for (let rest = BigInt(value); ; rest >>= 7n) {
    if (rest < 128n) return Uint8Array.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 127n) | 128);
  }
};
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const message = (field, ...parts) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([varint((field << 3) | 2), varint(body.length), body]);
};

/**
 * Stores a profile of one address, 0x401040 of a program whose debug information nobody has; gives its selector. Its type is one
 * that the page opens last, so that other cases do not see it.
 */
export async function storeAddress(base) {
  const strings = ['', 'addresses', 'count', '/opt/app', 'feedfacecafe'];
  const profile = Buffer.concat([
    message(1, number(1, 1), number(2, 2)),
    message(2, number(1, 1), number(2, 100)),
    message(3, number(1, 1), number(5, 3), number(6, 4)),
    message(4, number(1, 1), number(2, 1), number(3, 0x401040)),
    ...strings.map((text) => message(6, Buffer.from(text))),
    number(9, BigInt(Date.now() - 1000) * 1_000_000n),
    number(10, 1_000_000_000),
    message(11, number(1, 1), number(2, 2)),
    number(12, 1),
  ]);
  const series = { labels: { labels: [{ name: '__name__', value: 'decima_addresses' }] }, samples: [{ rawProfile: profile.toString('base64') }] };
  const answer = await fetch(`${base}/api/profiles/writeraw`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ series: [series] }),
  });
  if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
  return 'decima_addresses:addresses:count:addresses:count:delta{}';
}

/**
 * Stores a profile of two stacktraces under one native frame, one of which goes on in the kernel and one in Python, as an OpenTelemetry
 * profiler tells; gives its selector.
 */
export async function storeFrames(base) {
  const frames = [['main', 'native'], ['sys_read', 'kernel'], ['parse', 'cpython']];
  const strings = ['', 'frames', 'count', 'profile.frame.type', ...frames.map(([name]) => name)];
  const at = (text) => strings.indexOf(text);
  const type = { typeStrindex: at('frames'), unitStrindex: at('count') };
  const now = BigInt(Date.now() - 1000) * 1_000_000n;
  const profile = {
    sampleType: type,
    periodType: type,
    period: '1',
    timeUnixNano: String(now),
    durationNano: '1000000000',
    samples: [{ stackIndex: 1, values: ['3'] }, { stackIndex: 2, values: ['2'] }],
  };
  const request = {
    resourceProfiles: [{ resource: {}, scopeProfiles: [{ scope: { name: 'decima_frames' }, profiles: [profile] }] }],
    dictionary: {
      mappingTable: [{}],
      linkTable: [{}],
      stringTable: strings,
      attributeTable: [{}, ...frames.map(([, type]) => ({ keyStrindex: at('profile.frame.type'), value: { stringValue: type } }))],
      functionTable: [{}, ...frames.map(([name]) => ({ nameStrindex: at(name) }))],
      locationTable: [{}, ...frames.map((_, i) => ({ attributeIndices: [i + 1], lines: [{ functionIndex: i + 1, line: '7' }] }))],
      stackTable: [{}, { locationIndices: [2, 1] }, { locationIndices: [3, 1] }],
    },
  };
  const answer = await fetch(`${base}/v1development/profiles`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(request) });
  const said = await answer.text();
  if (!answer.ok || said.includes('errorMessage')) throw new Error(`${answer.status} ${said}`);
  return 'decima_frames:frames:count:frames:count:delta{}';
}

/** A function that grew, one that shrank, one that stayed. */
export function comparedFlame() {
  const nodes = [['', -1, 300, 290], ['grown', 0, 100, 20], ['shrunk', 0, 100, 170], ['same', 0, 100, 100]].map(([name, parent, cumulative, before], row) => ({
    name, parent, cumulative, before, flat: row ? cumulative : 0, flatBefore: row ? before : 0, children: row ? [] : [1, 2, 3], binary: null, file: null, line: 0, address: 0n,
  }));
  const profile = { nodes, total: 300 };
  return { total: 300, body: Buffer.from(flameArrow(profile, { threshold: 0, maxNodes: 100, focus: [], compares: true }).bytes) };
}
