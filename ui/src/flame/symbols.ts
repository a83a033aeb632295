/**
 * Interned strings. Function names, files and binaries are numbers inside the engine; the pool
 * outlives one report, so that a name keeps its number (and its colour) when a report is
 * replaced or a subtree is grafted into it.
 *
 * Id 0 is the empty string: "not known".
 */
export class SymbolPool {
  private readonly ids = new Map<string, number>([['', 0]]);
  readonly strings: string[] = [''];

  /** The id of `text`, new or old. */
  intern(text: string): number {
    const known = this.ids.get(text);
    if (known !== undefined) return known;
    const id = this.strings.length;
    this.ids.set(text, id);
    this.strings.push(text);
    return id;
  }

  /** The id of `text`, or -1 where no report has named it. */
  find(text: string): number {
    return this.ids.get(text) ?? -1;
  }

  /** The text of `id`. */
  text(id: number): string {
    return this.strings[id] ?? '';
  }

  get size(): number {
    return this.strings.length;
  }
}
