// QueryRange over gRPC-Web for the mock: reads the request, writes the answer.

function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    if (tag & 2) {
      const length = varint();
      yield [tag >> 3, bytes.subarray(at, (at += length))];
    } else yield [tag >> 3, varint()];
  }
}

function time(bytes) {
  const { 1: seconds = 0, 2: nanos = 0 } = Object.fromEntries(fields(bytes));
  return seconds * 1000 + nanos / 1e6;
}

/** The request in a frame of gRPC-Web. Times and step in milliseconds. */
export function readQueryRange(body) {
  const request = { query: '', start: 0, end: 0, step: 0, sumBy: [] };
  for (const [id, value] of fields(body.subarray(5))) {
    if (id === 1) request.query = value.toString();
    else if (id === 2) request.start = time(value);
    else if (id === 3) request.end = time(value);
    else if (id === 5) request.step = time(value);
    else if (id === 6) request.sumBy.push(value.toString());
  }
  return request;
}

function varint(value) {
  const out = [];
  let rest = BigInt(value);
  while (rest >= 0x80n) {
    out.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return Buffer.from([...out, Number(rest)]);
}
const uint = (id, value) => Buffer.concat([varint(id << 3), varint(value)]);
const bytes = (id, value) => Buffer.concat([varint((id << 3) | 2), varint(value.length), value]);
const text = (id, value) => bytes(id, Buffer.from(value));
const double = (id, value) => {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return Buffer.concat([varint((id << 3) | 1), out]);
};
const stamp = (milliseconds) => Buffer.concat([uint(1, Math.floor(milliseconds / 1000)), uint(2, Math.round((milliseconds % 1000) * 1e6))]);

const frame = (kind, content) => {
  const header = Buffer.alloc(5);
  header[0] = kind;
  header.writeUInt32BE(content.length, 1);
  return Buffer.concat([header, content]);
};
const trailers = (code, message) => frame(0x80, Buffer.from(`grpc-status:${code}\r\ngrpc-message:${encodeURIComponent(message)}\r\n`));

/** `series`: labels and samples of time (milliseconds), value, perSecond. */
export const seriesAnswer = (series) => Buffer.concat([
  frame(0, Buffer.concat(series.map(({ labels, samples }) => bytes(1, Buffer.concat([
    bytes(1, Buffer.concat(labels.map(({ name, value }) => bytes(1, Buffer.concat([text(1, name), text(2, value)]))))),
    ...samples.map((sample) => bytes(2, Buffer.concat([bytes(1, stamp(sample.time)), uint(2, sample.value), double(3, sample.perSecond)]))),
  ]))))),
  trailers(0, ''),
]);

export const failureAnswer = (code, message) => trailers(code, message);
