/**
 * The flame graph on screen: two canvases (boxes below, outlines above) that stay in place while
 * an empty element of the graph's full height scrolls below them, so that a deep graph costs
 * only what is on screen. Everything that a frame needs is in the pure modules beside this one.
 */
import { Hues, type FlameTheme } from './colour';
import { TextWidths } from './label';
import { BoxKind, BoxList, hitTest, visibleBoxes, type View } from './layout';
import { covering, panned, revealed, zoomed, type Span } from './span';
import { step, type Direction } from './navigate';
import { FLAME_FONT, frameLabel, outline, paint, Palette, ROW_PX, type Colouring, type Scene } from './paint';
import type { RowSet } from './search';
import { levels, type FlameTree } from './tree';

export interface Hit {
  /** Hidden: value that the server cut off below `row`. */
  kind: 'node' | 'hidden';
  row: number;
}

export interface FlameEvents {
  /** The user zoomed; row 0 is the whole. */
  zoom(row: number): void;
  /** The pointer is over something else than before. Coordinates are those of the window. */
  hover(hit: Hit | null, x: number, y: number): void;
  /** The keyboard selection moved. */
  select(row: number): void;
  /** A hatched box was clicked: `row` has more children than are here. */
  expand(row: number): void;
  /** A free zoom has come to rest within `row`. */
  settle(row: number): void;
  /** The secondary button was pressed on a node. */
  menu(row: number, x: number, y: number): void;
}

/** A visible box as tests read it. */
export interface VisibleBox {
  kind: 'node' | 'run' | 'hidden';
  name: string;
  x: number;
  y: number;
  width: number;
  height: number;
  depth: number;
  row: number;
}

/** Room below the last depth. */
const BOTTOM_PX = 24;
/** Depths kept above the zoomed one when it is scrolled to. */
const DEPTHS_ABOVE_FOCUS = 3;

/** A sliver is hit by a pointer that is this near, tried in order. */
const POINTER_SLACK_PX = [0, 1, -1];

/** Zoom per pixel of the wheel; a notch of 100 px is a factor of 1.22. */
const WHEEL_ZOOM = 0.002;
/** The same for two fingers on a pad, which browsers report as a wheel of small steps with the control key. */
const PINCH_ZOOM = 0.01;
/** Steps of the wheel below this are those of a pad. */
const PINCH_STEP_PX = 40;
const LINE_PX = 20;
const KEY_ZOOM = 1.5;
const SETTLE_MS = 200;
/** A pointer that moves less than this while it is down clicks. */
const DRAG_PX = 4;

const ARROWS: Record<string, Direction> = {
  ArrowUp: 'up',
  ArrowDown: 'down',
  ArrowLeft: 'left',
  ArrowRight: 'right',
};

export class FlameGraph {
  private readonly base = document.createElement('canvas');
  private readonly overlay = document.createElement('canvas');
  private readonly spacer = document.createElement('div');
  private readonly boxes = new BoxList();
  private readonly observer: ResizeObserver;
  private readonly widths: TextWidths;
  private width = 0;
  private height = 0;
  private frame = 0;

  private tree: FlameTree | null = null;
  private palette: Palette | null = null;
  private theme: FlameTheme = { dark: false, background: [255, 255, 255] };
  private colouring: Colouring = 'function';
  private hues = new Hues();
  private hits: RowSet | null = null;
  private pinned: Uint8Array | null = null;
  private accent = '#3257d6';
  private focusRow = 0;
  /** What of the tree fills the width, where that is not just the focus. */
  private span: Span | null = null;
  private settling = 0;
  private drag: { x: number; y: number; moved: boolean } | null = null;
  private selected = -1;
  private hovered: Hit | null = null;

  constructor(
    private readonly host: HTMLElement,
    private readonly events: FlameEvents,
  ) {
    const stage = document.createElement('div');
    stage.className = 'flame-stage';
    this.base.className = 'flame-canvas';
    this.overlay.className = 'flame-canvas';
    this.spacer.className = 'flame-spacer';
    stage.append(this.base, this.overlay);
    host.append(stage, this.spacer);

    const context = this.base.getContext('2d');
    if (context) context.font = FLAME_FONT;
    this.widths = new TextWidths((text) => context?.measureText(text).width ?? text.length * 7);

    host.addEventListener('scroll', this.schedule, { passive: true });
    host.addEventListener('wheel', this.onWheel, { passive: false });
    host.addEventListener('pointerdown', this.onPointerDown);
    host.addEventListener('pointerup', this.onPointerUp);
    host.addEventListener('pointermove', this.onPointerMove);
    host.addEventListener('pointerleave', this.onPointerLeave);
    host.addEventListener('click', this.onClick);
    host.addEventListener('contextmenu', this.onContextMenu);
    host.addEventListener('keydown', this.onKeyDown);
    host.addEventListener('focus', this.schedule);
    host.addEventListener('blur', this.schedule);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
    this.resize();
  }

  destroy(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.settling);
    this.host.replaceChildren();
  }

  /**
   * Shows `picture.tree`, zoomed to `focus`, at once. With `hits` everything else is faded; `pinned`
   * nodes are outlined.
   */
  show(picture: { tree: FlameTree | null; focus: number; hits: RowSet | null; pinned: Uint8Array | null }): void {
    const { tree } = picture;
    if (this.tree !== tree) {
      this.palette = null;
      this.hovered = null;
      this.selected = -1;
    }
    const before = this.place();
    this.tree = tree;
    this.hits = picture.hits;
    this.pinned = picture.pinned;
    this.focusRow = tree && picture.focus < tree.count ? picture.focus : 0;
    // A row's number changes when detail is grafted in; where it stands does not.
    const moved = this.place() !== before;
    if (moved) this.span = null;
    this.layoutHeight();
    if (moved) this.scrollToFocus();
    this.draw();
  }

  /** Where the focus stands. */
  private place(): string {
    const { tree, focusRow } = this;
    return tree ? `${tree.depth[focusRow]} ${tree.offset[focusRow]} ${tree.extent[focusRow]}` : '';
  }

  setColours(theme: FlameTheme, colouring: Colouring, hues: Hues, accent: string): void {
    this.theme = theme;
    this.hues = hues;
    this.colouring = colouring;
    this.accent = accent;
    this.palette = null;
    this.draw();
  }

  /** Moves the keyboard selection to `row`. */
  select(row: number): void {
    if (!this.tree || row < 0 || row >= this.tree.count) return;
    this.selected = row;
    this.scrollTo(this.tree.depth[row]);
    if (this.span) this.span = revealed(this.tree, this.span, row);
    this.draw();
    this.events.select(row);
  }

  get focus(): number {
    return this.focusRow;
  }

  /** What is on screen now, for tests. Coordinates are those of the window. */
  visible(): VisibleBox[] {
    const { tree, boxes } = this;
    if (!tree) return [];
    const frame = this.host.getBoundingClientRect();
    const kinds = ['node', 'run', 'hidden'] as const;
    return Array.from({ length: boxes.count }, (_, i) => ({
      kind: kinds[boxes.kind[i]],
      name: frameLabel(tree, boxes.row[i]),
      x: frame.left + boxes.x[i],
      y: frame.top + boxes.depth[i] * ROW_PX - this.host.scrollTop,
      width: boxes.width[i],
      height: ROW_PX - 1,
      depth: boxes.depth[i],
      row: boxes.row[i],
    }));
  }

  private shownSpan(tree: FlameTree): Span {
    const start = tree.offset[this.focusRow];
    return this.span ?? { start, end: start + tree.extent[this.focusRow] };
  }

  /** What fills the width, as shares of the whole from 0 to 1; for tests. */
  get shownShare(): Span {
    if (!this.tree) return { start: 0, end: 1 };
    const { start, end } = this.shownSpan(this.tree);
    return { start: start / this.tree.extent[0], end: end / this.tree.extent[0] };
  }

  /** Zooms by `factor`, so that what is `at` pixels from the left stays there. */
  private zoomBy(factor: number, at: number): void {
    if (!this.tree || this.width === 0) return;
    this.look(zoomed(this.tree, this.shownSpan(this.tree), factor, at / this.width));
  }

  private look(span: Span): void {
    this.span = span;
    this.schedule();
    clearTimeout(this.settling);
    this.settling = window.setTimeout(() => {
      if (this.tree && this.span) this.events.settle(covering(this.tree, this.span));
    }, SETTLE_MS);
  }

  private view(tree: FlameTree): View {
    const top = this.host.scrollTop;
    return {
      ...this.shownSpan(tree),
      width: this.width,
      fromDepth: Math.max(0, Math.floor(top / ROW_PX)),
      toDepth: Math.min(levels(tree) + 1, Math.ceil((top + this.height) / ROW_PX)),
    };
  }

  private scene(tree: FlameTree): Scene {
    this.palette ??= new Palette(tree, this.theme, this.colouring, this.hues);
    return {
      tree,
      palette: this.palette,
      boxes: this.boxes,
      scrollTop: this.host.scrollTop,
      focusDepth: tree.depth[this.focusRow],
      hits: this.hits,
      widths: this.widths,
      total: tree.cumulative[0],
    };
  }

  private prepare(canvas: HTMLCanvasElement): CanvasRenderingContext2D | null {
    const ratio = window.devicePixelRatio || 1;
    const width = Math.max(1, Math.round(this.width * ratio));
    const height = Math.max(1, Math.round(this.height * ratio));
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
      canvas.style.width = `${this.width}px`;
      canvas.style.height = `${this.height}px`;
    }
    const context = canvas.getContext('2d');
    if (!context) return null;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    context.font = FLAME_FONT;
    context.textBaseline = 'middle';
    return context;
  }

  private draw(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    const context = this.prepare(this.base);
    const { tree } = this;
    if (!context || !tree) {
      this.boxes.clear();
      this.prepare(this.overlay);
      return;
    }
    visibleBoxes(tree, this.view(tree), this.boxes);
    paint(context, this.scene(tree));
    this.drawOverlay();
  }

  private drawOverlay(): void {
    const context = this.prepare(this.overlay);
    const { tree, pinned } = this;
    if (!context || !tree) return;
    const scene = { boxes: this.boxes, scrollTop: this.host.scrollTop };
    const ink = this.theme.dark ? 'rgba(255,255,255,.75)' : 'rgba(20,28,45,.65)';
    if (pinned) outline(context, scene, (row) => pinned[row] === 1, this.accent, 1.5);
    if (this.hovered?.kind === 'node') {
      const { row } = this.hovered;
      const name = tree.name[row];
      if (row > 0) outline(context, scene, (other) => other > 0 && tree.name[other] === name, ink, 1);
      outline(context, scene, (other) => other === row, ink, 2);
    }
    if (this.selected >= 0 && document.activeElement === this.host) {
      outline(context, scene, (row) => row === this.selected, this.accent, 2.5);
    }
  }

  private readonly schedule = (): void => {
    if (this.frame === 0) this.frame = requestAnimationFrame(() => this.draw());
  };

  private resize(): void {
    this.width = this.host.clientWidth;
    this.height = this.host.clientHeight;
    this.layoutHeight();
    this.draw();
  }

  private layoutHeight(): void {
    const depths = this.tree ? levels(this.tree) + 1 : 0;
    this.spacer.style.height = `${depths * ROW_PX + BOTTOM_PX}px`;
    // A scrollbar that comes or goes changes the width.
    this.width = this.host.clientWidth;
  }

  private scrollToFocus(): void {
    if (!this.tree) return;
    const depth = this.tree.depth[this.focusRow];
    const wanted = Math.max(0, (depth - DEPTHS_ABOVE_FOCUS) * ROW_PX);
    const top = this.host.scrollTop;
    if (depth * ROW_PX < top || depth * ROW_PX > top + this.height / 2) this.host.scrollTop = wanted;
  }

  private scrollTo(depth: number): void {
    const y = depth * ROW_PX;
    const top = this.host.scrollTop;
    if (y < top) this.host.scrollTop = y;
    else if (y + ROW_PX > top + this.height) this.host.scrollTop = y + 2 * ROW_PX - this.height;
  }

  private hitAt(event: MouseEvent): Hit | null {
    const { tree } = this;
    if (!tree || this.width === 0) return null;
    const frame = this.host.getBoundingClientRect();
    const x = event.clientX - frame.left;
    const y = event.clientY - frame.top + this.host.scrollTop;
    if (x < 0 || x >= this.width) return null;
    const view = this.view(tree);
    for (const shift of POINTER_SLACK_PX) {
      const value = view.start + ((x + shift) / this.width) * (view.end - view.start);
      const hit = hitTest(tree, Math.floor(y / ROW_PX), value);
      if (hit) return { kind: hit.kind === BoxKind.Hidden ? 'hidden' : 'node', row: hit.row };
    }
    return null;
  }

  private readonly onWheel = (event: WheelEvent): void => {
    const { tree } = this;
    if (!tree) return;
    const unit = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PX : 1;
    const down = event.deltaY * unit;
    const across = (event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX) * unit;
    if (event.ctrlKey || event.metaKey || event.altKey) {
      const speed = event.ctrlKey && Math.abs(down) < PINCH_STEP_PX ? PINCH_ZOOM : WHEEL_ZOOM;
      this.zoomBy(Math.exp(-down * speed), event.clientX - this.host.getBoundingClientRect().left);
    } else if (this.span && Math.abs(across) > Math.abs(event.shiftKey ? 0 : down)) {
      this.look(panned(tree, this.span, across / this.width));
    } else return;
    event.preventDefault();
  };

  private readonly onPointerDown = (event: PointerEvent): void => {
    this.drag = event.button === 0 && event.pointerType === 'mouse' ? { x: event.clientX, y: event.clientY, moved: false } : null;
  };

  private readonly onPointerUp = (): void => {
    // The click that follows still has to know.
    setTimeout(() => {
      this.drag = null;
      this.host.classList.remove('flame-drag');
    });
  };

  /** Moves what is shown with the pointer. Says false where there is nothing to move, or not yet. */
  private dragTo(event: PointerEvent): boolean {
    const { drag, tree, span } = this;
    if (!drag || !tree || (event.buttons & 1) === 0) return false;
    const x = event.clientX - drag.x;
    const y = event.clientY - drag.y;
    if (!drag.moved && Math.hypot(x, y) < DRAG_PX) return false;
    if (!span && this.host.scrollHeight <= this.host.clientHeight) return false;
    drag.moved = true;
    this.host.classList.add('flame-drag');
    this.host.scrollTop -= y;
    if (span) this.look(panned(tree, span, -x / this.width));
    drag.x = event.clientX;
    drag.y = event.clientY;
    return true;
  }

  private readonly onPointerMove = (event: PointerEvent): void => {
    if (this.dragTo(event)) {
      this.events.hover(null, 0, 0);
      return;
    }
    const hit = this.hitAt(event);
    const changed = hit?.row !== this.hovered?.row || hit?.kind !== this.hovered?.kind;
    this.hovered = hit;
    this.host.classList.toggle('flame-over', hit !== null);
    if (changed) this.drawOverlay();
    this.events.hover(hit, event.clientX, event.clientY);
  };

  private readonly onPointerLeave = (): void => {
    this.hovered = null;
    this.drawOverlay();
    this.events.hover(null, 0, 0);
  };

  private readonly onClick = (event: MouseEvent): void => {
    const hit = this.hitAt(event);
    if (!hit || this.drag?.moved) return;
    // The click says what is to fill the width, also where it is the focus already.
    this.span = null;
    if (hit.kind === 'hidden') {
      this.events.expand(hit.row);
      return;
    }
    this.selected = hit.row;
    this.events.zoom(hit.row);
    this.schedule();
  };

  private readonly onContextMenu = (event: MouseEvent): void => {
    const hit = this.hitAt(event);
    if (hit?.kind !== 'node') return;
    event.preventDefault();
    this.events.menu(hit.row, event.clientX, event.clientY);
  };

  /** Where a zoom by key holds on: the middle of the selection, or of everything. */
  private keyZoomAt(tree: FlameTree): number {
    const { start, end } = this.shownSpan(tree);
    if (this.selected < 0) return this.width / 2;
    const middle = tree.offset[this.selected] + tree.extent[this.selected] / 2;
    return Math.min(1, Math.max(0, (middle - start) / (end - start))) * this.width;
  }

  private readonly onKeyDown = (event: KeyboardEvent): void => {
    const { tree } = this;
    if (!tree || event.altKey || event.ctrlKey || event.metaKey) return;
    const direction = ARROWS[event.key];
    const from = this.selected >= 0 ? this.selected : this.focusRow;
    if (direction) this.select(this.selected < 0 ? from : step(tree, from, direction, this.focusRow));
    else if (event.key === '+' || event.key === '=') this.zoomBy(KEY_ZOOM, this.keyZoomAt(tree));
    else if (event.key === '-') this.zoomBy(1 / KEY_ZOOM, this.keyZoomAt(tree));
    else if (this.span && (event.key === '0' || event.key === 'Escape')) {
      this.span = null;
      this.draw();
    } else if (event.key === 'Enter' || event.key === ' ') {
      this.span = null;
      this.events.zoom(from);
      this.schedule();
    }
    else if (event.key === 'Backspace') this.events.zoom(Math.max(0, tree.parent[this.focusRow]));
    else if (event.key === 'Home') this.select(0);
    else if (event.key === 'Escape' && this.focusRow > 0) this.events.zoom(0);
    else if (event.key === 'Escape' && this.selected >= 0) {
      this.selected = -1;
      this.drawOverlay();
    } else return;
    event.preventDefault();
  };
}
