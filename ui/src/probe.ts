/** `window.__decima`: what browser tests read, since a canvas cannot be asked what it shows. Read-only; nothing in the page depends on it. */
import type { VisibleBox } from './flame/graph';
import type { Span } from './flame/span';
import { pathOf } from './flame/path';
import { flame, sideA, sideB, table, types } from './state/store';
import { detailLoading, focusRow, searchResult, tree } from './state/zoom';
import { graph } from './views/FlamePanel';

export interface Probe {
  /** No request is on its way. */
  readonly idle: boolean;
  /** Boxes on the canvas now, in window coordinates. */
  visible(): VisibleBox[];
  /** Nodes in the tree, drawn or not. */
  readonly nodes: number;
  /** Frame names from below the root to the zoomed node. */
  readonly zoomed: string[];
  /** What fills the width, as shares of the whole from 0 to 1. */
  readonly span: Span;
  readonly search: { nodes: number; share: number; error: string };
  readonly expression: string;
}

export function installProbe(): void {
  const probe: Probe = {
    get idle() {
      return !detailLoading.peek() && ![types, sideA.series, sideB.series, flame, table].some((loader) => loader.state.peek().loading);
    },
    visible: () => graph.current?.visible() ?? [],
    get nodes() {
      return tree.peek()?.count ?? 0;
    },
    get zoomed() {
      const current = tree.peek();
      return current ? pathOf(current, focusRow.peek()) : [];
    },
    get span() {
      return graph.current?.shownShare ?? { start: 0, end: 1 };
    },
    get search() {
      const current = tree.peek();
      const result = searchResult.peek();
      const total = current ? current.cumulative[focusRow.peek()] : 0;
      return { nodes: result.nodes, share: total > 0 ? result.cumulative / total : 0, error: result.error };
    },
    get expression() {
      return sideA.state.peek().expression;
    },
  };
  Object.defineProperty(window, '__decima', { value: probe });
}
