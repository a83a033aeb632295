/** Moving the keyboard selection through the tree. Each gives the row to go to, or the same row where there is none. */
import { isWithin, type FlameTree } from './tree';

export type Direction = 'up' | 'down' | 'left' | 'right';

/** One step from `row`; never leaves the subtree of `root` sideways, but may go up out of it. */
export function step(tree: FlameTree, row: number, direction: Direction, root: number): number {
  switch (direction) {
    case 'up':
      return row === 0 ? 0 : tree.parent[row];
    case 'down':
      return widestChild(tree, row);
    case 'left':
      return sideways(tree, row, -1, root);
    case 'right':
      return sideways(tree, row, 1, root);
  }
}

function widestChild(tree: FlameTree, row: number): number {
  let best = row;
  for (let child = tree.firstChild[row]; child < tree.firstChild[row + 1]; child++) {
    if (best === row || tree.cumulative[child] > tree.cumulative[best]) best = child;
  }
  return best;
}

/** The next box of the same depth, whoever its parent is. */
function sideways(tree: FlameTree, row: number, by: 1 | -1, root: number): number {
  const depth = tree.depth[row];
  for (let at = row + by; at >= 0 && at < tree.count && tree.depth[at] === depth; at += by) {
    if (tree.cumulative[at] > 0) return isWithin(tree, at, root) ? at : row;
  }
  return row;
}
