import { expect, test } from 'vitest';
import { fields, frame, readTime, unframe, Writer } from './message';
import { readSeries } from './series';

const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
const from = (text: string): Uint8Array => Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16));

test('writing', () => {
  expect(hex(new Writer().uint(1, 0).uint(2, 300).text(3, 'ö').done())).toBe('10ac021a02c3b6');
  // 1700000000.25 s
  expect(hex(new Writer().time(2, 1_700_000_000_250).done())).toBe('120b0880e2cfaa061080e59a77');
  expect(hex(new Writer().time(5, 5000).done())).toBe('2a020805');
});

test.each([
  ['0801', [[1, 1]]],
  ['08ffffffffffffffffff01', [[1, -1]]],
  ['08808080808080808020', [[1, 2 ** 61]]],
  ['19000000000000f83f', [[3, 1.5]]],
  ['0d01000000', [[1, 1]]],
])('numbers of %s', (text, expected) => expect([...fields(from(text))].map(({ id, number }) => [id, number])).toEqual(expected));

test.each(['08', '0a05aa', '0b', '08ffffffffffffffffffffff', '0900'])('refuses %s', (text) => expect(() => [...fields(from(text))]).toThrow(RangeError));

test('a time written is read again', () => {
  const [{ bytes }] = fields(new Writer().time(1, 1_700_000_000_123).done());
  expect(readTime(bytes)).toBe(1_700_000_000_123);
});

test('frames', () => {
  const trailers = new TextEncoder().encode('Grpc-Status: 5\r\ngrpc-message:no%20data\r\n');
  const header = frame(trailers).slice(0, 5);
  header[0] = 0x80;
  const body = Uint8Array.from([...frame(from('0801')), ...header, ...trailers]);
  const answer = unframe(body);
  expect(hex(answer.message ?? new Uint8Array())).toBe('0801');
  expect([...answer.trailers]).toEqual([['grpc-status', '5'], ['grpc-message', 'no%20data']]);
  expect(unframe(new Uint8Array()).message).toBeNull();
  expect(() => unframe(body.subarray(0, 6))).toThrow(RangeError);
});

test('series of an answer', () => {
  const label = new Writer().text(1, 'job').text(2, 'api').done();
  const sample = (time: number, value: number) => {
    const perSecond = new Uint8Array(9);
    perSecond[0] = (3 << 3) | 1;
    new DataView(perSecond.buffer).setFloat64(1, value / 10, true);
    return Uint8Array.from([...new Writer().time(1, time).uint(2, value).done(), ...perSecond]);
  };
  const one = new Writer().bytes(1, new Writer().bytes(1, label).done()).bytes(2, sample(5000, 15)).bytes(2, sample(6000, 25)).done();
  expect(readSeries(new Writer().bytes(1, one).done())).toEqual([
    { labels: [{ name: 'job', value: 'api' }], times: [5000, 6000], values: [1.5, 2.5], sum: 40 },
  ]);
});
