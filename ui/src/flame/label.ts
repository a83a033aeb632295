/** Fitting a name into a box: the whole name, else its telling end, else its last word, else that with an ellipsis. */
import { lastName, shortName } from './names';

/** Measures text by summing cached character widths: kerning is not worth a call per label. */
export class TextWidths {
  private readonly ascii = new Float32Array(128);
  private readonly other = new Map<string, number>();

  constructor(private readonly measure: (text: string) => number) {
    for (let code = 32; code < 127; code++) this.ascii[code] = measure(String.fromCharCode(code));
  }

  character(text: string, at: number): number {
    const code = text.charCodeAt(at);
    if (code < 128) return this.ascii[code];
    const c = text[at];
    let width = this.other.get(c);
    if (width === undefined) {
      width = this.measure(c);
      this.other.set(c, width);
    }
    return width;
  }

  of(text: string): number {
    let width = 0;
    for (let i = 0; i < text.length; i++) width += this.character(text, i);
    return width;
  }
}

const ELLIPSIS = '…';

/** The best label for `name` within `room` pixels; empty where not even two characters fit. */
export function fitLabel(name: string, room: number, widths: TextWidths): string {
  if (fits(name, room, widths)) return name;
  const short = shortName(name);
  if (short !== name && fits(short, room, widths)) return short;
  const last = lastName(short);
  if (last !== short && fits(last, room, widths)) return last;
  // Half of a long word says more than all of a package and two letters of the function.
  // A receiver's bracket says nothing at all: `(*…`.
  const text = widths.of(last) > room * 2 && !short.startsWith('(') ? short : last;
  let width = widths.of(ELLIPSIS);
  let end = 0;
  while (end < text.length) {
    width += widths.character(text, end);
    if (width > room) break;
    end++;
  }
  return end < 2 ? '' : text.slice(0, end) + ELLIPSIS;
}

function fits(text: string, room: number, widths: TextWidths): boolean {
  let width = 0;
  for (let i = 0; i < text.length; i++) {
    width += widths.character(text, i);
    if (width > room) return false;
  }
  return true;
}
