import { describe, expect, test } from 'vitest';
import { hitTest, visibleBoxes, BoxKind, BoxList } from './layout';
import { step } from './navigate';
import { decodePath, encodePath, frameHash, pathNames, pathOf, resolvePath } from './path';
import { compileSearch, coverage, matchSymbols, rowsNamed, rowsOf, widest } from './search';
import { SymbolPool } from './symbols';
import { buildTree, emptyColumns, graft, isWithin, levels, subtreeRanges, type FlameTree } from './tree';

type Spec = [name: string, cumulative: number, flat: number, ...children: Spec[]];

/** Builds a tree from nested lists; rows depth first, so that the order has to be made canonical. */
function tree(spec: Spec, pool = new SymbolPool()): FlameTree {
  const rows: { name: string; cumulative: number; flat: number; parent: number }[] = [];
  const visit = ([name, cumulative, flat, ...children]: Spec, parent: number): void => {
    rows.push({ name, cumulative, flat, parent });
    const row = rows.length - 1;
    for (const child of children) visit(child, row);
  };
  visit(spec, -1);
  const columns = emptyColumns(rows.length, false);
  rows.forEach(({ name, cumulative, flat, parent }, row) => {
    columns.name[row] = row === 0 ? 0 : pool.intern(name);
    columns.cumulative[row] = cumulative;
    columns.flat[row] = flat;
    columns.parent[row] = parent;
  });
  return buildTree(columns, pool);
}

const SAMPLE: Spec = ['', 100, 0,
  ['a', 60, 10, ['c', 30, 30], ['d', 20, 5, ['a', 15, 15]]],
  ['b', 35, 5, ['c', 10, 10]]];

const names = (t: FlameTree): string[] => Array.from(t.name, (id) => t.symbols.text(id));

describe('tree', () => {
  test('rows become breadth first, siblings keep their order', () => {
    const t = tree(SAMPLE);
    expect(names(t)).toEqual(['', 'a', 'b', 'c', 'd', 'c', 'a']);
    expect([...t.parent]).toEqual([-1, 0, 0, 1, 1, 2, 4]);
    expect([...t.depth]).toEqual([0, 1, 1, 2, 2, 2, 3]);
    expect([...t.levelStart]).toEqual([0, 1, 3, 6, 7]);
    expect(levels(t)).toBe(4);
    expect([...t.firstChild]).toEqual([1, 3, 5, 6, 6, 7, 7, 7]);
    expect([...t.offset]).toEqual([0, 0, 60, 0, 30, 60, 30]);
  });

  test('what children and flat do not account for is hidden', () => {
    const t = tree(SAMPLE);
    expect([...t.hidden]).toEqual([5, 0, 20, 0, 0, 0, 0]);
    expect([...t.hiddenBelow]).toEqual([1, 0, 1, 0, 0, 0, 0]);
  });

  test('a root alone, and rows that the root does not reach', () => {
    const alone = tree(['', 0, 0]);
    expect(alone.count).toBe(1);
    expect(levels(alone)).toBe(1);
    const pool = new SymbolPool();
    const columns = emptyColumns(4, false);
    columns.parent.set([-1, 2, 1, 0]);
    expect(buildTree(columns, pool).count).toBe(2);
  });

  test('a subtree is one range per depth', () => {
    const t = tree(SAMPLE);
    expect([...subtreeRanges(t, 1)]).toEqual([[1, 2], [3, 5], [6, 7]]);
    expect([...subtreeRanges(t, 2)]).toEqual([[2, 3], [5, 6]]);
    expect(isWithin(t, 6, 1)).toBe(true);
    expect(isWithin(t, 5, 1)).toBe(false);
    expect(isWithin(t, 5, 0)).toBe(true);
  });

  test('detail takes the place of a subtree', () => {
    const t = tree(SAMPLE);
    const detail = tree(['', 100, 0, ['b', 35, 5, ['c', 10, 4, ['e', 6, 6]], ['f', 20, 20]]], t.symbols);
    const next = graft(t, 2, detail, 1);
    if (!next) throw new Error('the values agree');
    expect(names(next)).toEqual(['', 'a', 'b', 'c', 'd', 'c', 'f', 'a', 'e']);
    expect(next.hidden[2]).toBe(0);
    expect(next.hidden[0]).toBe(5);
    expect(next.cumulative[0]).toBe(100);
    expect(next.offset[resolvePath(next, [{ name: 'b' }, { name: 'f' }]).row]).toBe(70);
  });

  test('detail of other data is refused', () => {
    const t = tree(SAMPLE);
    const detail = tree(['', 101, 0, ['b', 36, 36]], t.symbols);
    expect(graft(t, 2, detail, 1)).toBeNull();
  });
});

describe('layout', () => {
  const boxes = (t: FlameTree, start: number, end: number, width: number): [string, string, number, number][] => {
    const out = new BoxList();
    visibleBoxes(t, { start, end, width, fromDepth: 0, toDepth: levels(t) + 1 }, out);
    return Array.from({ length: out.count }, (_, i) => [
      ['node', 'run', 'hidden'][out.kind[i]],
      t.symbols.text(t.name[out.row[i]]),
      Math.round(out.x[i]),
      Math.round(out.width[i]),
    ]);
  };

  test('every box where all are wide', () => {
    expect(boxes(tree(SAMPLE), 0, 100, 1000)).toEqual([
      ['node', '', 0, 1000],
      ['hidden', '', 950, 50],
      ['node', 'a', 0, 600],
      ['node', 'b', 600, 350],
      ['hidden', 'b', 700, 200],
      ['node', 'c', 0, 300],
      ['node', 'd', 300, 200],
      ['node', 'c', 600, 100],
      ['node', 'a', 300, 150],
    ]);
  });

  test('a zoom cuts ancestors to the width and leaves out what is beside', () => {
    expect(boxes(tree(SAMPLE), 60, 95, 350)).toEqual([
      ['node', '', 0, 350],
      ['node', 'b', 0, 350],
      ['hidden', 'b', 100, 200],
      ['node', 'c', 0, 100],
    ]);
  });

  test('slivers become one bar, and a wide box among them stays', () => {
    const children: Spec[] = [];
    for (let i = 0; i < 5000; i++) children.push([`n${i}`, 1, 1]);
    children.splice(2500, 0, ['wide', 5000, 5000]);
    const t = tree(['', 10_000, 0, ...children]);
    expect(boxes(t, 0, 10_000, 1000)).toEqual([
      ['node', '', 0, 1000],
      ['run', 'n0', 0, 250],
      ['node', 'wide', 250, 500],
      ['run', 'n2500', 750, 250],
    ]);
  });

  test('the number of boxes is bounded by the pixels', () => {
    const children: Spec[] = [];
    for (let i = 0; i < 20_000; i++) children.push([`n${i}`, 1 + (i % 7), 1 + (i % 7)]);
    const total = children.reduce((sum, [, cumulative]) => sum + cumulative, 0);
    expect(boxes(tree(['', total, 0, ...children]), 0, total, 200).length).toBeLessThan(402);
  });

  test('nothing of a tree without value', () => {
    expect(boxes(tree(['', 0, 0, ['a', 0, 0]]), 0, 0, 100)).toEqual([]);
  });

  test('what lies under the pointer', () => {
    const t = tree(SAMPLE);
    const at = (depth: number, value: number): string => {
      const hit = hitTest(t, depth, value);
      return hit ? `${hit.kind === BoxKind.Hidden ? 'hidden in ' : ''}${t.symbols.text(t.name[hit.row]) || 'root'}` : '-';
    };
    expect(at(0, 99)).toBe('root');
    expect(at(1, 0)).toBe('a');
    expect(at(1, 59.9)).toBe('a');
    expect(at(1, 60)).toBe('b');
    expect(at(1, 97)).toBe('hidden in root');
    expect(at(2, 55)).toBe('-'); // a's own time
    expect(at(2, 75)).toBe('hidden in b');
    expect(at(3, 44)).toBe('a');
    expect(at(9, 1)).toBe('-');
  });
});

describe('search', () => {
  const search = (text: string, regex = false) => {
    const t = tree(SAMPLE);
    const compiled = compileSearch({ text, regex });
    if (typeof compiled !== 'function') return compiled.error;
    return coverage(t, rowsOf(t, matchSymbols(t, compiled)).mask);
  };

  test('a hit below a hit is not counted twice', () => {
    expect(search('a')).toEqual({ cumulative: 60, flat: 25, nodes: 2 });
    expect(search('c')).toEqual({ cumulative: 40, flat: 40, nodes: 2 });
    expect(search('x')).toEqual({ cumulative: 0, flat: 0, nodes: 0 });
  });

  test('patterns, and what is none', () => {
    expect(search('^[AB]$', true)).toEqual({ cumulative: 95, flat: 30, nodes: 3 });
    expect(search('a(', true)).toMatch(/unterminated/i);
    expect(search('a(')).toEqual({ cumulative: 0, flat: 0, nodes: 0 });
  });

  test('within a subtree; the widest hit; membership of a range', () => {
    const t = tree(SAMPLE);
    const mask = rowsNamed(t, t.symbols.find('c'));
    expect(coverage(t, mask, 2)).toEqual({ cumulative: 10, flat: 10, nodes: 1 });
    expect(widest(t, mask)).toBe(3);
    expect(widest(t, mask, 2)).toBe(5);
    expect(widest(t, new Uint8Array(t.count))).toBe(-1);
    const rows = rowsOf(t, Uint8Array.from(t.symbols.strings, (name) => Number(name === 'c')));
    expect(rows.before[6] - rows.before[4]).toBe(1);
    expect(rows.size).toBe(2);
  });
});

describe('values below zero', () => {
  const built = (parent: number[], cumulative: number[], flat: number[]) => {
    const columns = emptyColumns(parent.length, false);
    columns.parent.set(parent);
    columns.cumulative.set(cumulative);
    columns.flat.set(flat);
    return buildTree(columns, new SymbolPool());
  };

  test('no box is wider than the one above it', () => {
    // 10 − 5 = 5 in the parent; the −5 came as 0.
    const t = built([-1, 0, 0, 1, 1], [8, 5, 3, 10, 0], [0, 0, 3, 10, 0]);
    expect([...t.extent]).toEqual([13, 10, 3, 10, 0]);
    expect([...t.offset]).toEqual([0, 0, 10, 0, 10]);
    expect([...t.cumulative]).toEqual([8, 5, 3, 10, 0]);
    expect([...t.hidden]).toEqual([0, 0, 0, 0, 0]);
    expect([...built([-1, 0, 0], [2, 4, -2], [0, 4, -2]).extent]).toEqual([4, 4, 0]);
  });

  test('without them the widths are the values', () => {
    const t = built([-1, 0, 0], [9, 5, 3], [0, 5, 3]);
    expect(t.extent).toBe(t.cumulative);
    expect([...t.hidden]).toEqual([1, 0, 0]);
  });
});

describe('keyboard', () => {
  test('walks', () => {
    const t = tree(SAMPLE);
    const from = (name: string): number => t.name.indexOf(t.symbols.find(name));
    expect(step(t, 0, 'down', 0)).toBe(from('a'));
    expect(step(t, from('a'), 'right', 0)).toBe(from('b'));
    expect(step(t, from('b'), 'right', 0)).toBe(from('b'));
    expect(step(t, from('d'), 'right', 0)).toBe(5);
    expect(step(t, from('d'), 'right', 1)).toBe(from('d'));
    expect(step(t, from('d'), 'up', 0)).toBe(from('a'));
    expect(step(t, 0, 'up', 0)).toBe(0);
    expect(step(t, 6, 'down', 0)).toBe(6);
  });
});

describe('paths', () => {
  test('there and back, as names and as hashes', () => {
    const t = tree(SAMPLE);
    const path = pathOf(t, 6);
    expect(path).toEqual(['a', 'd', 'a']);
    expect(encodePath(path)).toBe('["a","d","a"]');
    expect(resolvePath(t, decodePath(encodePath(path)))).toEqual({ row: 6, steps: 3 });
    const hashed = `~${path.map(frameHash).join('')}`;
    expect(resolvePath(t, decodePath(hashed))).toEqual({ row: 6, steps: 3 });
    expect(pathNames(decodePath(hashed))).toBeNull();
    expect(encodePath([])).toBe('');
  });

  test('long paths stay short in the address', () => {
    const path = Array.from({ length: 60 }, (_, i) => `github.com/some/module/package.(*Type${i}).Method`);
    expect(encodePath(path).length).toBe(1 + 60 * 5);
  });

  test('goes as far as the report does, and reads what Parca writes', () => {
    const t = tree(SAMPLE);
    expect(resolvePath(t, decodePath('["a","gone","c"]'))).toEqual({ row: 1, steps: 1 });
    expect(resolvePath(t, decodePath('[{"functionName":"b"},{"functionName":"c"}]'))).toEqual({ row: 5, steps: 2 });
    for (const broken of ['', '{', '3', '[3]', 'null']) expect(decodePath(broken)).toEqual([]);
  });
});
