/** Marks on the browser's own timeline, for measuring how fast the first picture comes. */
const made = new Set<string>();

/** Marks the first time that something is reached. */
export function markOnce(name: 'decima:script' | 'decima:answer' | 'decima:flame'): void {
  if (made.has(name)) return;
  made.add(name);
  performance.mark(name);
}
