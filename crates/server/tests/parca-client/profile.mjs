// A pprof file with known totals, encoded here so that no code of the server takes part.
import { gzipSync } from 'node:zlib';

const varint = (value) => {
  const bytes = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
};
const number = (field, value) => [...varint(field << 3), ...varint(value)];
const bytes = (field, content) => [...varint((field << 3) | 2), ...varint(content.length), ...content];
const packed = (field, values) => bytes(field, values.flatMap(varint));

// `stacks`: [functions leaf first, nanoseconds of CPU].
export function cpuProfile(timeNs, stacks) {
  const strings = [''];
  const id = (text) => {
    const found = strings.indexOf(text);
    return found >= 0 ? found : strings.push(text) - 1;
  };
  const names = [...new Set(stacks.flatMap(([functions]) => functions))];
  const valueType = (type, unit) => [...number(1, id(type)), ...number(2, id(unit))];
  const message = [
    ...bytes(1, valueType('cpu', 'nanoseconds')),
    ...stacks.flatMap(([functions, value]) =>
      bytes(2, [...packed(1, functions.map((name) => names.indexOf(name) + 1)), ...packed(2, [value])])),
    ...bytes(3, [...number(1, 1), ...number(2, 0x400000), ...number(3, 0x800000), ...number(5, id('/app/shop')), ...number(6, id('cafe01'))]),
    ...names.flatMap((name, index) =>
      bytes(4, [...number(1, index + 1), ...number(2, 1), ...number(3, 0x400000 + 16 * index), ...bytes(4, [...number(1, index + 1), ...number(2, 7)])])),
    ...names.flatMap((name, index) =>
      bytes(5, [...number(1, index + 1), ...number(2, id(name)), ...number(3, id(name)), ...number(4, id('/src/shop.go')), ...number(5, 5)])),
    ...number(9, timeNs),
    ...number(10, 10_000_000_000n),
    ...bytes(11, valueType('cpu', 'nanoseconds')),
    ...number(12, 10_000_000),
  ];
  message.push(...strings.flatMap((text) => bytes(6, [...new TextEncoder().encode(text)])));
  return new Uint8Array(gzipSync(Uint8Array.from(message)));
}
