import {
  binary, bool, dictionary, int32, int64, list, tableFromArrays, tableFromIPC, tableToIPC, uint16, uint32, uint64, uint8, utf8, type DataType,
} from '@uwdata/flechette';
import { expect, test } from 'vitest';
import { SymbolPool } from '../flame/symbols';
import { colourGroups } from '../flame/paint';
import { pathOf } from '../flame/path';
import { decodeFlame, decodeTable, numbers } from './arrow';
import { adopt, send } from './transfer';

const bytes = (text: string | null): Uint8Array | null => (text === null ? null : new TextEncoder().encode(text));

function ipc(data: Record<string, unknown[]>, types: Record<string, DataType>): Uint8Array {
  const table = tableFromArrays(data as Record<string, unknown[]>, { types } as never);
  const out = tableToIPC(table, { format: 'stream' });
  if (!out) throw new Error('nothing was written');
  return out;
}

const names = () => dictionary(binary(), uint8());

test('a flame graph as the contract spells it', () => {
  const record = ipc(
    {
      labels_only: [null, false, false, false],
      location_address: [null, 0x401000n, 0xffffffff81000010n, null],
      mapping_file: [null, '/bin/app', '[kernel]', null].map(bytes),
      location_line: [null, 12, null, 7],
      inlined: [false, false, null, true],
      function_name: [null, 'main.main', null, 'größe'].map(bytes),
      function_file_name: [null, 'main.go', null, 'main.go'].map(bytes),
      unresolved: [null, null, 'no debuginfo', null],
      frame_type: [null, 'go', 'kernel', 'go'].map(bytes),
      children: [[1], [2, 3], null, null],
      parent: [-1, 0, 1, 1],
      cumulative: [2n ** 60n, 100n, 40n, 50n],
      flat: [0n, 10n, 40n, 50n],
      diff: [0n, 0n, 0n, 0n],
      depth: [0, 1, 2, 2],
      value_offset: [0n, 0n, 0n, 40n],
    },
    {
      labels_only: bool(), location_address: uint64(), mapping_file: names(), location_line: uint16(), inlined: bool(), function_name: names(),
      function_file_name: names(), children: list(uint32()), parent: int32(), cumulative: uint64(), flat: uint64(), diff: int64(), depth: uint8(), value_offset: uint64(),
      unresolved: dictionary(utf8(), uint8()), frame_type: names(),
    },
  );
  const pool = new SymbolPool();
  const tree = decodeFlame(record, pool);
  if (!tree) throw new Error('it has nodes');
  expect(tree.count).toBe(4);
  expect(tree.diff).toBeNull();
  expect(pathOf(tree, 2)).toEqual(['main.main', '0xffffffff81000010']);
  expect(pathOf(tree, 3)).toEqual(['main.main', 'größe']);
  expect(tree.cumulative[0]).toBe(2 ** 60);
  expect(tree.address[2]).toBe(0xffffffff81000010n);
  expect(pool.text(tree.binary[2])).toBe('[kernel]');
  expect([...tree.line]).toEqual([0, 12, 0, 7]);
  expect([...tree.inlined]).toEqual([0, 0, 0, 1]);
  expect([...tree.unresolved].map((id) => pool.text(id))).toEqual(['', '', 'no debuginfo', '']);
  expect([...tree.frameType].map((id) => pool.text(id))).toEqual(['', 'go', 'kernel', 'go']);
  expect(colourGroups(tree, 'type').map(({ group, flat }) => [group, flat])).toEqual([['go', 60], ['kernel', 40]]);
  expect([...tree.hidden]).toEqual([2 ** 60 - 100, 0, 0, 0]);
});

test('narrow integers, a diff, and rows that stand for labels', () => {
  const record = ipc(
    {
      labels_only: [null, true, false],
      function_name: [null, null, 'f'].map(bytes),
      parent: [-1, 0, 1],
      cumulative: [9, 9, 9],
      flat: [0, 0, 9],
      diff: [-4, -4, -4],
      'labels.job': [null, 'api', 'api'].map(bytes),
    },
    { labels_only: bool(), function_name: names(), parent: int32(), cumulative: uint8(), flat: uint8(), diff: int64(), 'labels.job': names() },
  );
  const tree = decodeFlame(record, new SymbolPool(), true);
  if (!tree) throw new Error('it has nodes');
  expect(pathOf(tree, 2)).toEqual(['job="api"', 'f']);
  expect([...(tree.diff ?? [])]).toEqual([-4, -4, -4]);
});

test('an empty report', () => {
  const root = ipc(
    { parent: [-1], cumulative: [0], flat: [0], function_name: [null] },
    { parent: int32(), cumulative: uint8(), flat: uint8(), function_name: names() },
  );
  expect(decodeFlame(root, new SymbolPool())?.cumulative[0]).toBe(0);
});

test('the top table', () => {
  const text = () => dictionary(utf8(), uint32());
  const table = decodeTable(
    ipc(
      {
        function_name: ['a', null, 'b'], function_file_name: ['a.go', null, null], mapping_file: ['/bin/x', '/bin/y', null],
        location_address: [1n, 0x2an, null], location_line: [3n, null, null], frame_type: ['jvm', null, 'jvm'], cumulative: [5n, 6n, -7n], flat: [1n, 2n, 3n],
      },
      { function_name: text(), function_file_name: text(), mapping_file: text(), location_address: uint64(), location_line: int64(), frame_type: text(), cumulative: int64(), flat: int64() },
    ),
    new SymbolPool(),
  );
  expect(Array.from(table.name, (id) => table.symbols.text(id))).toEqual(['a', '0x2a', 'b']);
  expect(Array.from(table.frameType, (id) => table.symbols.text(id))).toEqual(['jvm', '', 'jvm']);
  expect([...table.cumulative]).toEqual([5, 6, -7]);
});

test('foreign bytes are an error, not a picture', () => {
  expect(() => decodeFlame(new TextEncoder().encode('<html>no</html>'), new SymbolPool())).toThrow();
});

test('a column that is missing', () => {
  expect([...numbers(null, 2, -1)]).toEqual([-1, -1]);
  expect(tableFromIPC).toBeTypeOf('function');
});

test('a tree that goes from one thread to another', () => {
  const record = ipc(
    { function_name: [null, 'a', 'b'].map(bytes), mapping_file: [null, 'x', null].map(bytes), frame_type: [null, 'b', null].map(bytes), parent: [-1, 0, 0], cumulative: [9n, 5n, 4n], flat: [0n, 5n, 4n], diff: [1n, 1n, 0n] },
    { function_name: names(), mapping_file: names(), frame_type: names(), parent: int32(), cumulative: uint64(), flat: uint64(), diff: int64() },
  );
  const tree = decodeFlame(record, new SymbolPool(), true);
  if (!tree) throw new Error('it has nodes');
  const { sent, buffers } = send(tree);
  const pool = new SymbolPool();
  pool.intern('b');
  const got = adopt(structuredClone(sent, { transfer: buffers }), pool);
  expect(tree.name.length).toBe(0);
  expect([1, 2].map((row) => pool.text(got.name[row]))).toEqual(['a', 'b']);
  expect(pool.text(got.binary[1])).toBe('x');
  expect(pool.text(got.frameType[1])).toBe('b');
  expect(got.name[2]).toBe(1);
  expect([...(got.diff ?? [])]).toEqual([1, 1, 0]);
  expect([...got.cumulative]).toEqual([9, 5, 4]);
  expect(got.extent).toEqual(got.cumulative);
});
