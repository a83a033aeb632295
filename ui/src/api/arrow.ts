/** From Arrow IPC bytes to the page's own columns. Only here is flechette known. */
import { tableFromIPC, type Column, type Table } from '@uwdata/flechette';
import { buildTree, emptyColumns, type FlameTree } from '../flame/tree';
import type { SymbolPool } from '../flame/symbols';

const decoder = new TextDecoder();

/** The parts of flechette's batches that are read in bulk. */
interface RawBatch {
  length: number;
  nullCount: number;
  values?: ArrayLike<number> | ArrayLike<bigint>;
  dictionary?: Column<unknown>;
  isValid(index: number): boolean;
}

function column(table: Table, name: string): Column<unknown> | null {
  return (table.getChild(name) as Column<unknown> | undefined) ?? null;
}

function eachBatch(source: Column<unknown>, visit: (batch: RawBatch, offset: number) => void): void {
  let offset = 0;
  for (const batch of source.data as unknown as RawBatch[]) {
    visit(batch, offset);
    offset += batch.length;
  }
}

/** 64-bit integers as doubles, by their halves: a bigint per value would be most of the work. */
function halves(values: BigInt64Array | BigUint64Array, length: number, out: Float64Array, offset: number): void {
  const words = new Uint32Array(values.buffer, values.byteOffset, length * 2);
  const signed = values instanceof BigInt64Array;
  for (let i = 0; i < length; i++) {
    const high = words[2 * i + 1];
    out[offset + i] = words[2 * i] + (signed ? high | 0 : high) * 2 ** 32;
  }
}

/** Numbers of any width; null is `absent`. 64-bit values above 2^53 lose their last digits, never their size. */
export function numbers(source: Column<unknown> | null, count: number, absent = 0): Float64Array {
  const out = new Float64Array(count);
  if (!source) return absent === 0 ? out : out.fill(absent);
  eachBatch(source, (batch, offset) => {
    const { values, length } = batch;
    if (!values) out.fill(absent, offset, offset + length);
    else if (values instanceof BigInt64Array || values instanceof BigUint64Array) halves(values, length, out, offset);
    else for (let i = 0; i < length; i++) out[offset + i] = Number(values[i]);
    if (batch.nullCount === 0) return;
    for (let i = 0; i < length; i++) if (!batch.isValid(i)) out[offset + i] = absent;
  });
  return out;
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  return value instanceof Uint8Array ? decoder.decode(value) : '';
}

/** Ids of strings in `pool`; null is 0. A dictionary's entries are read once, whether binary or text. */
export function symbolIds(source: Column<unknown> | null, count: number, pool: SymbolPool): Uint32Array {
  const out = new Uint32Array(count);
  if (!source) return out;
  eachBatch(source, (batch, offset) => {
    if (!batch.dictionary || !batch.values) {
      for (let i = 0; i < batch.length; i++) out[offset + i] = pool.intern(text(source.at(offset + i)));
      return;
    }
    const ids = new Uint32Array(batch.dictionary.length);
    for (let i = 0; i < ids.length; i++) ids[i] = pool.intern(text(batch.dictionary.at(i)));
    for (let i = 0; i < batch.length; i++) {
      if (batch.nullCount === 0 || batch.isValid(i)) out[offset + i] = ids[Number(batch.values[i])] ?? 0;
    }
  });
  return out;
}

/** Addresses as they are: kernel addresses do not fit a double. */
function addresses(source: Column<unknown> | null, count: number): BigUint64Array {
  const out = new BigUint64Array(count);
  if (!source) return out;
  eachBatch(source, (batch, offset) => {
    const { values, length } = batch;
    if (values instanceof BigUint64Array) out.set(values.subarray(0, length), offset);
    else for (let i = 0; i < length; i++) out[offset + i] = BigInt(values?.[i] ?? 0);
    if (batch.nullCount === 0) return;
    for (let i = 0; i < length; i++) if (!batch.isValid(i)) out[offset + i] = 0n;
  });
  return out;
}

/** A column of bits; null is 0. */
function flags(source: Column<unknown> | null, count: number): Uint8Array {
  const out = new Uint8Array(count);
  if (!source) return out;
  eachBatch(source, (batch, offset) => {
    const bits = batch.values as Uint8Array | undefined;
    if (!(bits instanceof Uint8Array)) return;
    for (let i = 0; i < batch.length; i++) {
      if ((bits[i >> 3] >> (i & 7)) & 1 && (batch.nullCount === 0 || batch.isValid(i))) out[offset + i] = 1;
    }
  });
  return out;
}

/** Frames without a function are named by their address. */
function nameAddresses(name: Uint32Array, address: BigUint64Array, pool: SymbolPool): void {
  for (let row = 0; row < name.length; row++) {
    if (name[row] === 0 && address[row] !== 0n) name[row] = pool.intern(`0x${address[row].toString(16)}`);
  }
}

/** Rows that stand for a label set are named by it. */
function nameLabelRows(table: Table, labelsOnly: Uint8Array, name: Uint32Array, pool: SymbolPool): void {
  const columns = table.schema.fields
    .filter((field) => field.name.startsWith('labels.'))
    .map((field) => [field.name.slice('labels.'.length), column(table, field.name)] as const);
  for (let row = 0; row < labelsOnly.length; row++) {
    if (!labelsOnly[row]) continue;
    const parts = columns.map(([label, values]) => [label, text(values?.at(row))]).filter(([, value]) => value !== '');
    name[row] = pool.intern(parts.map(([label, value]) => `${label}="${value}"`).join(', '));
  }
}

/** Reads a FLAMEGRAPH_ARROW report; null where it has no nodes at all. */
export function decodeFlame(bytes: Uint8Array, pool: SymbolPool, compares = false): FlameTree | null {
  const table = tableFromIPC(bytes, { useBigInt: true });
  const count = table.numRows;
  if (count === 0) return null;
  const columns = emptyColumns(count, compares);
  columns.parent.set(numbers(column(table, 'parent'), count, -1));
  columns.cumulative = numbers(column(table, 'cumulative'), count);
  columns.flat = numbers(column(table, 'flat'), count);
  if (compares) columns.diff = numbers(column(table, 'diff'), count);
  columns.address = addresses(column(table, 'location_address'), count);
  columns.name = symbolIds(column(table, 'function_name'), count, pool);
  columns.binary = symbolIds(column(table, 'mapping_file'), count, pool);
  columns.file = symbolIds(column(table, 'function_file_name'), count, pool);
  columns.line = Uint32Array.from(numbers(column(table, 'location_line'), count));
  columns.inlined = flags(column(table, 'inlined'), count);
  columns.unresolved = symbolIds(column(table, 'unresolved'), count, pool);
  columns.frameType = symbolIds(column(table, 'frame_type'), count, pool);
  nameLabelRows(table, flags(column(table, 'labels_only'), count), columns.name, pool);
  nameAddresses(columns.name, columns.address, pool);
  columns.name[0] = 0;
  return buildTree(columns, pool);
}

/** The top table: one entry per function. Strings are symbol ids. */
export interface TopTable {
  count: number;
  name: Uint32Array;
  file: Uint32Array;
  binary: Uint32Array;
  line: Uint32Array;
  cumulative: Float64Array;
  flat: Float64Array;
  /** Changes against the base; null where nothing is compared. */
  cumulativeDiff: Float64Array | null;
  flatDiff: Float64Array | null;
  /** Why there is no function. */
  unresolved: Uint32Array;
  /** What runs it; 0 also where its frames differ. */
  frameType: Uint32Array;
  symbols: SymbolPool;
}

/** Reads a TABLE_ARROW report. */
export function decodeTable(bytes: Uint8Array, pool: SymbolPool, compares = false): TopTable {
  const table = tableFromIPC(bytes, { useBigInt: true });
  const count = table.numRows;
  const name = symbolIds(column(table, 'function_name'), count, pool);
  nameAddresses(name, addresses(column(table, 'location_address'), count), pool);
  return {
    count,
    name,
    file: symbolIds(column(table, 'function_file_name'), count, pool),
    binary: symbolIds(column(table, 'mapping_file'), count, pool),
    line: Uint32Array.from(numbers(column(table, 'location_line'), count, 0)),
    cumulative: numbers(column(table, 'cumulative'), count),
    flat: numbers(column(table, 'flat'), count),
    cumulativeDiff: compares ? numbers(column(table, 'cumulative_diff'), count) : null,
    flatDiff: compares ? numbers(column(table, 'flat_diff'), count) : null,
    unresolved: symbolIds(column(table, 'unresolved'), count, pool),
    frameType: symbolIds(column(table, 'frame_type'), count, pool),
    symbols: pool,
  };
}

