import { expect, test } from 'vitest';
import type { Job, Sender, Target } from './api/wire';
import { jobRows, nameOf, senderRows, wayOf } from './intake';

const target = (url: string, health: string, lastError = ''): Target => ({
  url,
  health,
  lastError,
  discoveredLabels: null,
  labels: { labels: [{ name: 'env', value: url.includes('b') ? 'test' : 'prod' }] },
  lastScrape: null,
  lastScrapeDuration: null,
});

const job = (name: string, discoveryError = ''): Job => ({
  name,
  good: '0',
  bad: '0',
  unknown: '0',
  dropped: '0',
  leftOut: '0',
  error: '',
  discoveries: discoveryError ? [{ kind: 'consul', subject: 'http://consul:8500/', targets: '0', lastSuccess: null, lastError: discoveryError, failures: '1' }] : [],
});

const NOW = Date.parse('2026-01-01T12:00:00Z');

const sender = (node: string, minutesAgo: number, lastError = ''): Sender => ({
  node,
  address: '10.0.0.1',
  lastError,
  lastPush: new Date(NOW - minutesAgo * 60_000).toISOString(),
  lastPushDuration: '0.004s',
  counts: [
    { protocol: 'write_arrow', acceptedRequests: '2', samples: '1000', rejectedSamples: '1', repairedStrings: '0', refused: [{ reason: 'time', requests: '1' }, { reason: 'malformed', requests: '3' }] },
    { protocol: 'otlp_grpc', acceptedRequests: '1', samples: '24', rejectedSamples: '0', repairedStrings: '2', refused: [{ reason: 'time', requests: '1' }] },
  ],
});

test('jobs in trouble come first, and so do their targets that are down', () => {
  const targets = { api: { targets: [target('http://a/', 'HEALTH_GOOD'), target('http://b/', 'HEALTH_BAD', 'refused')] }, gone: { targets: [] } };
  const rows = jobRows(targets, [job('api'), job('alone'), job('lost', 'no leader'), job('aaa')], '');
  expect(rows.map(({ name }) => name)).toEqual(['api', 'lost', 'aaa', 'alone', 'gone']);
  expect(rows[0].targets.map(({ url }) => url)).toEqual(['http://b/', 'http://a/']);
});

test('jobs are found by their targets, labels, errors and discoveries', () => {
  const targets = { api: { targets: [target('http://a/', 'HEALTH_GOOD'), target('http://b/', 'HEALTH_BAD', 'refused')] } };
  const jobs = [job('api'), job('lost', 'no leader')];
  const found = (search: string) => jobRows(targets, jobs, search).map(({ name, targets: all }) => [name, all.length]);
  expect(found('API')).toEqual([['api', 2]]);
  expect(found('env=test')).toEqual([['api', 1]]);
  expect(found('refused')).toEqual([['api', 1]]);
  expect(found('no leader')).toEqual([['lost', 0]]);
  expect(found('consul:8500')).toEqual([['lost', 0]]);
  expect(found('nothing')).toEqual([]);
});

test('a sender is added up over its ways in', () => {
  const [row] = senderRows([sender('node-1', 1)], '', NOW);
  expect(row).toMatchObject({ health: 'good', ways: ['agent', 'OTLP'], accepted: 3, samples: 1024, rejected: 1, repaired: 2, refused: [['malformed', 3], ['time', 2]] });
});

test('senders in trouble come first, then those present by name; silence is told', () => {
  const rows = senderRows([sender('a-old', 30), sender('node-10', 1), sender('node-9', 2), sender('z-bad', 20, 'column x is missing')], '', NOW);
  expect(rows.map(({ sender: { node }, health }) => [node, health])).toEqual([['z-bad', 'bad'], ['node-9', 'good'], ['node-10', 'good'], ['a-old', 'unknown']]);
  expect(senderRows([sender('a', 1), sender('b', 1, 'column')], 'COLUMN', NOW).map(({ sender: { node } }) => node)).toEqual(['b']);
  expect(senderRows([sender('a', 1)], 'malformed', NOW).length).toBe(1);
});

test('names', () => {
  expect(nameOf({ ...sender('', 0), address: '10.0.0.1' })).toBe('10.0.0.1');
  expect(nameOf({ ...sender('', 0), address: '' })).toBe('unknown');
  expect(wayOf('some_new_way')).toBe('some new way');
});
