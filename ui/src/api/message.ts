/** Protobuf messages and the frames of gRPC-Web, as far as this page needs them. Fields are read and written by their numbers. */

const DATA = 0;
const TRAILERS = 0x80;
const FRAME_HEADER_BYTES = 5;

/** A message being written. Fields that hold their default are left out, as the format wants it. */
export class Writer {
  private readonly out: number[] = [];

  private varint(value: number): void {
    let rest = value;
    while (rest >= 0x80) {
      this.out.push((rest % 0x80) | 0x80);
      rest = Math.floor(rest / 0x80);
    }
    this.out.push(rest);
  }

  /** A whole number from 0 to 2^53. */
  uint(field: number, value: number): this {
    if (value === 0) return this;
    this.varint(field << 3);
    this.varint(value);
    return this;
  }

  bytes(field: number, value: Uint8Array): this {
    this.varint((field << 3) | 2);
    this.varint(value.length);
    for (const byte of value) this.out.push(byte);
    return this;
  }

  text(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  /** A `google.protobuf.Timestamp`, or a Duration, of so many milliseconds from 1970, or of 0. */
  time(field: number, milliseconds: number): this {
    const seconds = Math.floor(milliseconds / 1000);
    return this.bytes(field, new Writer().uint(1, seconds).uint(2, Math.round((milliseconds - seconds * 1000) * 1e6)).done());
  }

  done(): Uint8Array {
    return Uint8Array.from(this.out);
  }
}

/** A field as it stands in a message: numbers are in `number`, everything of a length in `bytes`. */
export interface Field {
  id: number;
  number: number;
  bytes: Uint8Array;
}

const NOTHING = new Uint8Array();

/** The fields of a message in their order. 64-bit integers above 2^53 lose their last digits. Throws where the bytes are no message. */
export function* fields(message: Uint8Array): Generator<Field> {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  let at = 0;
  const varint = (): number => {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (at >= message.length) throw new RangeError(`the message ends within a number at byte ${at}`);
      const byte = message[at++];
      // Two halves of 35 bits: numbers of 53 bits cannot be shifted.
      if (shift < 35) low += (byte & 0x7f) * 2 ** shift;
      else high += (byte & 0x7f) * 2 ** (shift - 35);
      // Negative numbers have bit 63 set, which is bit 28 of the upper half.
      if (byte < 0x80) return low + (high >= 2 ** 28 ? high - 2 ** 29 : high) * 2 ** 35;
    }
    throw new RangeError(`a number is longer than 10 bytes at byte ${at}`);
  };
  const take = (length: number): number => {
    if (length < 0 || at + length > message.length) throw new RangeError(`a field of ${length} bytes runs over the end at byte ${at}`);
    at += length;
    return at - length;
  };
  while (at < message.length) {
    const tag = varint();
    const id = Math.floor(tag / 8);
    switch (tag % 8) {
      case 0:
        yield { id, number: varint(), bytes: NOTHING };
        break;
      case 1:
        yield { id, number: view.getFloat64(take(8), true), bytes: NOTHING };
        break;
      case 2: {
        const length = varint();
        const from = take(length);
        yield { id, number: 0, bytes: message.subarray(from, from + length) };
        break;
      }
      case 5:
        yield { id, number: view.getUint32(take(4), true), bytes: NOTHING };
        break;
      default:
        throw new RangeError(`wire type ${tag % 8} is not known, before byte ${at}`);
    }
  }
}

/** A Timestamp in milliseconds. */
export function readTime(message: Uint8Array): number {
  let time = 0;
  for (const { id, number } of fields(message)) time += id === 1 ? number * 1000 : id === 2 ? number / 1e6 : 0;
  return time;
}

const utf8 = new TextDecoder();
export const readText = (bytes: Uint8Array): string => utf8.decode(bytes);

/** A message in its frame. */
export function frame(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(FRAME_HEADER_BYTES + message.length);
  new DataView(out.buffer).setUint32(1, message.length);
  out.set(message, FRAME_HEADER_BYTES);
  return out;
}

/** Takes an answer's body apart: the message, and the trailers by their names in small letters. */
export function unframe(body: Uint8Array): { message: Uint8Array | null; trailers: Map<string, string> } {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const trailers = new Map<string, string>();
  let message: Uint8Array | null = null;
  let at = 0;
  while (at + FRAME_HEADER_BYTES <= body.length) {
    const kind = body[at];
    const length = view.getUint32(at + 1);
    const content = body.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + length);
    if (content.length < length) throw new RangeError(`a frame of ${length} bytes has only ${content.length}`);
    at += FRAME_HEADER_BYTES + length;
    if (kind === DATA) message = content;
    else if (kind === TRAILERS) {
      for (const line of readText(content).split('\r\n')) {
        const colon = line.indexOf(':');
        if (colon > 0) trailers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
      }
    } else throw new RangeError(`frames of kind ${kind} are not known`);
  }
  return { message, trailers };
}
