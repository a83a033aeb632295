/** Marks on the browser's own timeline, for measuring how fast the first picture comes. */
type Mark = 'decima:script' | 'decima:answer' | 'decima:flame';

const made = new Set<Mark>();
let shown: () => void = () => undefined;

/** Fulfilled once the first flame graph is painted. */
export const flameShown = new Promise<void>((done) => {
  shown = done;
});

/** Marks the first time that something is reached. */
export function markOnce(name: Mark): void {
  if (made.has(name)) return;
  made.add(name);
  performance.mark(name);
  if (name === 'decima:flame') shown();
}
