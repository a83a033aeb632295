// Every call of Parca's client, in both framings, against answers that are known beforehand.
import assert from 'node:assert/strict';
import { gunzipSync } from 'node:zlib';
import {
  AgentsServiceClient, DebuginfoServiceClient, HealthClient, ProfileStoreServiceClient, QueryServiceClient,
  ScrapeServiceClient, ProfileDiffSelection_Mode, QueryRequest_Mode, QueryRequest_ReportType, Timestamp,
} from '@parca/client';
import { GrpcWebFetchTransport } from '@protobuf-ts/grpcweb-transport';
import { CompressionType, Type, setCompressionCodec, tableFromIPC } from '@uwdata/flechette';
import lz4 from 'lz4js';
import { cpuProfile } from './profile.mjs';

setCompressionCodec(CompressionType.LZ4_FRAME, {
  encode: (data) => lz4.compress(data),
  decode: (data) => lz4.decompress(data),
});

const TYPE = 'process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta';
const STACKS = [
  [['hash', 'checkout', 'main'], 70_000_000],
  [['checkout', 'main'], 20_000_000],
  [['render', 'main'], 10_000_000],
];
const TOTAL = 100_000_000n;
const { FLAMEGRAPH_ARROW, TABLE_ARROW, TOP, PPROF, CALLGRAPH, PROFILE_METADATA, FLAMEGRAPH_UNSPECIFIED } = QueryRequest_ReportType;

// The client gives a slice of the message, which begins anywhere; typed arrays want it aligned.
const readRecord = (record) => tableFromIPC(new Uint8Array(record), { useBigInt: true });

// Runs all checks in all ways to call; whether none failed.
export async function run(base) {
  const counts = { passed: 0, failed: 0 };
  for (const [name, baseUrl, format] of [
    ['text below /api', `${base}/api`, 'text'],
    ['binary below /api', `${base}/api`, 'binary'],
    ['binary at the root, as Grafana', base, 'binary'],
    ['text at the root', base, 'text'],
  ]) {
    await checkAll(name, new GrpcWebFetchTransport({ baseUrl, format }), counts);
  }
  console.log(`${counts.passed} passed, ${counts.failed} failed`);
  return counts.failed === 0;
}

async function checkAll(way, transport, counts) {
  const options = { timeout: 20_000 };
  const check = async (what, body) => {
    try {
      await body();
      counts.passed += 1;
    } catch (error) {
      counts.failed += 1;
      console.log(`FAILED ${way}: ${what}\n  ${String(error.stack ?? error).split('\n').slice(0, 12).join('\n  ')}`);
    }
  };
  const refused = async (call, code, words) => {
    const error = await call.then(() => assert.fail(`should be ${code}`), (error) => error);
    assert.equal(error.code, code, error.message);
    assert.match(decodeURIComponent(error.message), words);
  };

  const store = new ProfileStoreServiceClient(transport);
  const query = new QueryServiceClient(transport);
  const job = `conformance ${way} ${Date.now()}`;
  const now = BigInt(Date.now()) * 1_000_000n;
  const timestamp = (ns) => Timestamp.fromDate(new Date(Number(ns / 1_000_000n)));
  const [start, end] = [timestamp(now - 600_000_000_000n), timestamp(now + 1_000_000_000n)];
  const selector = `${TYPE}{job="${job}"}`;
  const write = (labels, profile) =>
    store.writeRaw({
      tenant: '',
      normalized: false,
      series: [{
        labels: { labels: Object.entries(labels).map(([name, value]) => ({ name, value })) },
        samples: [{ rawProfile: profile, executableInfo: [] }],
      }],
    }, options);
  const merge = (request, text = selector) =>
    query.query({
      mode: QueryRequest_Mode.MERGE,
      options: { oneofKind: 'merge', merge: { query: text, start, end } },
      filter: [],
      ...request,
    }, options).response;

  await check('writeRaw', async () => {
    await write({ __name__: 'process_cpu', job, instance: 'a', node: 'n1' }, cpuProfile(now - 20_000_000_000n, STACKS));
    await write({ __name__: 'process_cpu', job, instance: 'b', node: 'n1' }, cpuProfile(now - 10_000_000_000n, STACKS));
  });
  await check('writeRaw refuses what is no profile', () =>
    refused(write({ __name__: 'process_cpu', job }, new Uint8Array([255, 255])), 'INVALID_ARGUMENT', /./));
  await check('writeRaw refuses a missing name', () =>
    refused(write({ job }, cpuProfile(now, STACKS)), 'INVALID_ARGUMENT', /__name__/));
  await check('a message of 2 MB', () =>
    refused(write({ __name__: 'process_cpu', job }, new Uint8Array(2_000_000)), 'INVALID_ARGUMENT', /./));

  await check('hasProfileData', async () => {
    assert.equal((await query.hasProfileData({}, options)).response.hasData, true);
  });
  await check('profileTypes', async () => {
    const { types } = (await query.profileTypes({}, options)).response;
    const names = types.map((t) =>
      [t.name, t.sampleType, t.sampleUnit, t.periodType, t.periodUnit].join(':') + (t.delta ? ':delta' : ''));
    assert.ok(names.includes(TYPE), names.join());
    const later = { start: timestamp(now + 3_000_000_000_000n), end: timestamp(now + 4_000_000_000_000n) };
    assert.deepEqual((await query.profileTypes(later, options)).response.types, []);
  });
  await check('labels and values, as Grafana asks', async () => {
    const { labelNames } = (await query.labels({ match: [] }, options)).response;
    assert.ok(['instance', 'job', 'node'].every((name) => labelNames.includes(name)), labelNames.join());
    const { labelValues } = (await query.values({ labelName: 'job', match: [] }, options)).response;
    assert.ok(labelValues.includes(job));
  });
  await check('labels and values of a selector', async () => {
    const asked = { match: [`{job="${job}",instance="b"}`], profileType: TYPE, start, end };
    assert.deepEqual((await query.values({ labelName: 'instance', ...asked }, options)).response.labelValues, ['b']);
    assert.deepEqual((await query.labels(asked, options)).response.labelNames, ['instance', 'job', 'node']);
  });

  await check('queryRange with a step and sum_by', async () => {
    const { series } = (await query.queryRange({
      query: selector, start, end, limit: 0, step: { seconds: 3600n, nanos: 0 }, sumBy: ['instance'],
    }, options)).response;
    assert.equal(series.length, 2);
    for (const one of series) {
      assert.equal(one.labelset.labels.length, 1);
      assert.equal(one.samples.reduce((sum, sample) => sum + sample.value, 0n), TOTAL);
    }
    assert.deepEqual([series[0].sampleType.type, series[0].sampleType.unit], ['cpu', 'nanoseconds']);
  });
  await check('queryRange with a limit only, as Grafana asks', async () => {
    const { series } = (await query.queryRange({ query: selector, start, end, limit: 120, sumBy: [] }, options)).response;
    assert.equal(series.length, 1);
    assert.ok(series[0].labelset);
    assert.deepEqual(series[0].samples.map((sample) => sample.value), [TOTAL, TOTAL]);
    assert.ok(series[0].samples.every((sample) => Math.abs(sample.valuePerSecond - 0.01) < 1e-9));
  });

  await check('flame graph', async () => {
    const { report, total, filtered } = await merge({ reportType: FLAMEGRAPH_ARROW });
    assert.equal(report.oneofKind, 'flamegraphArrow');
    assert.deepEqual([total, filtered], [2n * TOTAL, 0n]);
    const { record, unit, height, trimmed } = report.flamegraphArrow;
    assert.deepEqual([unit, height, trimmed], ['nanoseconds', 4, 0n]);
    checkFlamegraph(readRecord(record));
  });
  await check('flame graph, grouped by a label', async () => {
    const { report } = await merge({ reportType: FLAMEGRAPH_ARROW, groupBy: { fields: ['labels.instance'] } });
    const table = readRecord(report.flamegraphArrow.record);
    assert.ok(table.names.includes('labels.instance'), table.names.join());
    assert.equal([...table.getChild('labels_only')].filter((value) => value === true).length, 2);
  });
  await check('flame graph, trimmed', async () => {
    const { report } = await merge({ reportType: FLAMEGRAPH_ARROW, nodeTrimThreshold: 15 });
    assert.equal(report.flamegraphArrow.trimmed, 20_000_000n);
    assert.equal(readRecord(report.flamegraphArrow.record).numRows, 4);
  });
  await check('flame graph of nothing', async () => {
    const { report, total } = await merge({ reportType: FLAMEGRAPH_ARROW }, `${TYPE}{job="nobody"}`);
    assert.equal(total, 0n);
    assert.equal(readRecord(report.flamegraphArrow.record).numRows, 1);
  });
  await check('filter', async () => {
    const criteria = { functionName: { condition: { oneofKind: 'equal', equal: 'hash' } } };
    const filter = [{ filter: { oneofKind: 'stackFilter', stackFilter: { filter: { oneofKind: 'criteria', criteria } } } }];
    const { total, filtered } = await merge({ reportType: TOP, filter });
    assert.deepEqual([total, filtered], [140_000_000n, 60_000_000n]);
  });
  await check('table', async () => {
    const { report, total } = await merge({ reportType: TABLE_ARROW });
    const table = readRecord(report.tableArrow.record);
    const rows = Object.fromEntries(table.toArray().map((row) => [row.function_name, row]));
    assert.deepEqual(Object.keys(rows).sort(), ['checkout', 'hash', 'main', 'render']);
    assert.deepEqual([rows.main.cumulative, rows.main.flat], [2n * TOTAL, 0n]);
    assert.deepEqual([rows.checkout.cumulative, rows.checkout.flat], [180_000_000n, 40_000_000n]);
    assert.equal(total, 2n * TOTAL);
    const nameAt = (index) => table.at(Number(index)).function_name;
    assert.deepEqual([...rows.checkout.callers].map(nameAt), ['main']);
    assert.deepEqual([...rows.checkout.callees].map(nameAt), ['hash']);
  });
  await check('top', async () => {
    const { top } = (await merge({ reportType: TOP })).report;
    assert.deepEqual(
      top.list.map((node) => [node.meta.function.name, node.flat, node.cumulative]),
      [['hash', 140_000_000n, 140_000_000n], ['checkout', 40_000_000n, 180_000_000n], ['render', 20_000_000n, 20_000_000n], ['main', 0n, 200_000_000n]],
    );
    assert.equal(top.unit, 'nanoseconds');
    assert.equal(top.list[0].meta.mapping.file, '/app/shop');
  });
  await check('pprof', async () => {
    const { report } = await merge({ reportType: PPROF });
    const text = gunzipSync(report.pprof).toString('latin1');
    for (const word of ['hash', 'checkout', 'render', 'main', 'nanoseconds', '/app/shop']) assert.ok(text.includes(word), word);
  });
  await check('call graph', async () => {
    const { callgraph } = (await merge({ reportType: CALLGRAPH })).report;
    const name = Object.fromEntries(callgraph.nodes.map((node) => [node.id, node.meta?.function?.name ?? '']));
    const edges = callgraph.edges.map((edge) => [name[edge.source], name[edge.target], edge.cumulative]);
    const found = edges.find(([source, target]) => source === 'main' && target === 'checkout');
    assert.equal(found?.[2], 180_000_000n, JSON.stringify(edges, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
  });
  await check('metadata', async () => {
    const { profileMetadata } = (await merge({ reportType: PROFILE_METADATA })).report;
    // Parca gives the base name or the path; both are accepted.
    assert.ok(profileMetadata.mappingFiles.some((file) => file.endsWith('shop')), profileMetadata.mappingFiles.join());
    assert.deepEqual(profileMetadata.labels, ['instance', 'job', 'node']);
  });
  await check('single', async () => {
    const { total } = (await query.query({
      mode: QueryRequest_Mode.SINGLE_UNSPECIFIED,
      options: { oneofKind: 'single', single: { query: selector, time: timestamp(now - 20_000_000_000n) } },
      reportType: TOP, filter: [],
    }, options)).response;
    assert.equal(total, TOTAL);
    const nothing = { query: selector, time: timestamp(now - 15_000_000_000n) };
    await refused(
      query.query({ mode: 0, options: { oneofKind: 'single', single: nothing }, reportType: TOP, filter: [] }, options),
      'NOT_FOUND', /./,
    );
  });
  await check('diff', async () => {
    const side = (instance) => ({
      mode: ProfileDiffSelection_Mode.MERGE,
      options: { oneofKind: 'merge', merge: { query: `${TYPE}{job="${job}",instance=~"${instance}"}`, start, end } },
    });
    const diff = async (request) =>
      (await query.query({
        mode: QueryRequest_Mode.DIFF,
        options: { oneofKind: 'diff', diff: { a: side('a'), b: side('a|b'), absolute: true } },
        filter: [],
        ...request,
      }, options)).response;
    const { top } = (await diff({ reportType: TOP })).report;
    const hash = top.list.find((node) => node.meta.function.name === 'hash');
    assert.equal(hash.diff, 70_000_000n);
    const { report } = await diff({ reportType: FLAMEGRAPH_ARROW });
    const table = readRecord(report.flamegraphArrow.record);
    assert.equal(BigInt(table.getChild('diff').at(0)), TOTAL);
  });

  await check('wrong selectors', async () => {
    await refused(merge({ reportType: TOP }, 'nonsense{'), 'INVALID_ARGUMENT', /./);
    await refused(merge({ reportType: TOP }, '{job="x"}'), 'INVALID_ARGUMENT', /./);
    await refused(merge({ reportType: TOP }, ''), 'INVALID_ARGUMENT', /merge\.query/);
  });
  await check('wrong requests', async () => {
    await refused(merge({ reportType: 99 }), 'INVALID_ARGUMENT', /invalid report type/);
    await refused(merge({ reportType: FLAMEGRAPH_UNSPECIFIED }), 'UNIMPLEMENTED', /invalid report type/);
    await refused(merge({ reportType: TOP, mode: QueryRequest_Mode.DIFF }), 'INVALID_ARGUMENT', /diff/);
    await refused(query.query({ mode: 2, options: { oneofKind: undefined }, reportType: TOP, filter: [] }, options), 'INVALID_ARGUMENT', /merge/);
  });
  await check('what is not offered', async () => {
    await refused(query.series({ match: [] }, options), 'UNIMPLEMENTED', /QueryService\/Series/);
    await refused(query.shareProfile({}, options), 'UNIMPLEMENTED', /QueryService\/ShareProfile/);
  });
  await check('debuginfo is asked for', async () => {
    const asked = { buildId: 'cafe01cafe01', hash: '', force: false, type: 0, buildIdType: 1 };
    const { response } = await new DebuginfoServiceClient(transport).shouldInitiateUpload(asked, options);
    assert.equal(response.shouldInitiateUpload, true);
    assert.match(response.reason, /^First time we see this Build ID/);
  });

  await check('agents', async () => {
    const { agents } = (await new AgentsServiceClient(transport).agents({}, options)).response;
    assert.ok(agents.some((agent) => agent.id === 'n1'), agents.map((agent) => agent.id).join());
  });
  await check('targets', async () => {
    const { targets } = (await new ScrapeServiceClient(transport).targets({ state: 1 }, options)).response;
    assert.equal(typeof targets, 'object');
  });
  await check('health', async () => {
    const health = new HealthClient(transport);
    for (const service of ['', 'parca.query.v1alpha1.QueryService']) {
      assert.equal((await health.check({ service }, options)).response.status, 1);
    }
  });
}

// What Parca's page and Grafana's plugin rely on: types of columns, root in row 0, parents before children.
function checkFlamegraph(table) {
  const fields = Object.fromEntries(table.schema.fields.map((field) => [field.name, field.type]));
  const expected = [
    'labels_only', 'location_address', 'mapping_file', 'mapping_build_id', 'location_line', 'inlined', 'function_startline',
    'function_name', 'function_system_name', 'function_file_name', 'children', 'parent', 'cumulative', 'flat', 'diff',
    'timestamp', 'depth', 'value_offset',
  ];
  assert.deepEqual(table.names.slice(0, expected.length), expected);
  for (const name of ['mapping_file', 'mapping_build_id', 'function_name', 'function_system_name', 'function_file_name']) {
    assert.equal(fields[name].typeId, Type.Dictionary, name);
    assert.equal(fields[name].dictionary.typeId, Type.Binary, name);
  }
  assert.equal(fields.children.typeId, Type.List);
  const [child] = fields.children.children;
  assert.deepEqual([child.type.typeId, child.type.bitWidth, child.type.signed], [Type.Int, 32, false]);
  assert.deepEqual([fields.location_address.bitWidth, fields.location_address.signed], [64, false]);
  assert.deepEqual([fields.parent.bitWidth, fields.parent.signed], [32, true]);
  assert.equal(fields.cumulative.signed, false);

  const names = [...table.getChild('function_name')].map((name) => (name === null ? null : new TextDecoder().decode(name)));
  const column = (name) => [...table.getChild(name)].map((value) => (value === null ? null : Number(value)));
  const [parent, cumulative, flat, depth, offset] = ['parent', 'cumulative', 'flat', 'depth', 'value_offset'].map(column);
  assert.deepEqual([names[0], parent[0], cumulative[0], flat[0], depth[0], offset[0]], [null, -1, 200_000_000, 0, 0, 0]);
  const rows = new Map(names.map((name, row) => [name, row]));
  const row = (name) => rows.get(name);
  assert.deepEqual([parent[row('main')], parent[row('checkout')], parent[row('hash')]], [0, row('main'), row('checkout')]);
  assert.deepEqual([cumulative[row('checkout')], flat[row('checkout')], cumulative[row('hash')]], [180_000_000, 40_000_000, 140_000_000]);
  const children = [...table.getChild('children')].map((list) => (list === null ? [] : [...list].map(Number)));
  assert.deepEqual(children[0], [row('main')]);
  assert.deepEqual(children[row('main')].sort(), [row('checkout'), row('render')].sort());
  assert.deepEqual(children[row('hash')], []);
}
