/**
 * Paths: how a node is named outside of one report. A path is the frame names below the root;
 * in a URL a long one is written as a hash per frame, because a deep zoom would otherwise make
 * an address of several kilobytes.
 */
import type { FlameTree } from './tree';

/** Frame names from below the root down to `row`. */
export function pathOf(tree: FlameTree, row: number): string[] {
  const path: string[] = [];
  for (let at = row; at > 0; at = tree.parent[at]) path.push(tree.symbols.text(tree.name[at]));
  return path.reverse();
}

const HASH_MARK = '~';
const HASH_CHARS = 5;
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** 30 bits of FNV-1a as five URL-safe characters. */
export function frameHash(name: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  let out = '';
  for (let i = 0; i < HASH_CHARS; i++) out += ALPHABET[(hash >>> (i * 6)) & 63];
  return out;
}

/** A frame of a path: its name, or its hash where the path came from a shortened address. */
export type PathStep = { name: string } | { hash: string };

/** Names stay names as long as the JSON is at most this long. */
const READABLE_PATH_CHARS = 300;

/** The `cur_path` value of a path; empty for the root. */
export function encodePath(path: readonly string[]): string {
  if (path.length === 0) return '';
  const json = JSON.stringify(path);
  return json.length <= READABLE_PATH_CHARS ? json : HASH_MARK + path.map(frameHash).join('');
}

/** Reads a `cur_path` value; also Parca's own, whose frames are objects. What cannot be read is the root. */
export function decodePath(text: string): PathStep[] {
  if (text.startsWith(HASH_MARK)) {
    const steps: PathStep[] = [];
    for (let i = 1; i + HASH_CHARS <= text.length; i += HASH_CHARS) {
      steps.push({ hash: text.slice(i, i + HASH_CHARS) });
    }
    return steps;
  }
  let frames: unknown;
  try {
    frames = JSON.parse(text || '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(frames)) return [];
  const steps: PathStep[] = [];
  for (const frame of frames) {
    const name: unknown =
      typeof frame === 'object' && frame !== null
        ? ((frame as Record<string, unknown>).functionName ?? (frame as Record<string, unknown>).function_name)
        : frame;
    if (typeof name !== 'string') break;
    steps.push({ name });
  }
  return steps;
}

/** The names of a path, or null where it holds hashes. */
export function pathNames(steps: readonly PathStep[]): string[] | null {
  const names: string[] = [];
  for (const step of steps) {
    if (!('name' in step)) return null;
    names.push(step.name);
  }
  return names;
}

/** Walks down as far as the report goes. `steps` says how many steps were found. */
export function resolvePath(tree: FlameTree, path: readonly PathStep[]): { row: number; steps: number } {
  let row = 0;
  let steps = 0;
  for (const step of path) {
    const id = 'name' in step ? tree.symbols.find(step.name) : -1;
    let found = -1;
    for (let child = tree.firstChild[row]; child < tree.firstChild[row + 1]; child++) {
      const hit =
        'name' in step
          ? tree.name[child] === id
          : frameHash(tree.symbols.text(tree.name[child])) === step.hash;
      if (hit) {
        found = child;
        break;
      }
    }
    if (found < 0) break;
    row = found;
    steps++;
  }
  return { row, steps };
}
