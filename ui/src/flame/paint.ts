/** Painting of boxes onto a Canvas2D context. Knows colours and letters, not events. */
import { boxColour, css, diffColour, hitColour, mix, oklch, type FlameTheme, type Hues, type Rgb } from './colour';
import { fitLabel, TextWidths } from './label';
import { BoxKind, type BoxList } from './layout';
import { baseName, packageOf } from './names';
import type { RowSet } from './search';
import type { FlameTree } from './tree';

/** Height of a depth in CSS pixels, the gap below it included. */
export const ROW_PX = 20;
const BOX_PX = ROW_PX - 1;
/** Labels only where a few characters fit. */
const MIN_LABEL_PX = 36;
/** Corners are rounded only where one can see it: they cost a path each. */
const MIN_ROUND_PX = 8;
const PADDING_PX = 5;
export const FLAME_FONT = '12px "Inter Variable", Inter, "Segoe UI", system-ui, -apple-system, "Helvetica Neue", Arial, sans-serif';

/** How strongly a box is painted. */
const enum Shade {
  Plain = 0,
  /** Runs of slivers: many hues side by side would flicker. */
  Calm = 1,
  /** Not a hit, or above the zoomed node. */
  Faded = 2,
}
const TOWARDS_BACKGROUND = [0, 0.3, 0.72];

/** Colours of labels. */
export const INKS = { light: '#1a2130', dark: '#edf1f7', hit: '#1c1505' } as const;

export type Colouring = 'function' | 'binary' | 'type' | 'diff';

/** The text shown in a box. */
export function frameLabel(tree: FlameTree, row: number): string {
  return row === 0 ? 'total' : tree.symbols.text(tree.name[row]) || '(unknown)';
}

/** What a colour stands for: the package, the binary or the type of a frame. Empty, and grey, where that is not known. */
export function groupOf(name: string, binary: string, frameType: string, colouring: Colouring): string {
  if (colouring === 'type') return frameType;
  const file = baseName(binary);
  if (colouring === 'binary') return file;
  return name.startsWith('0x') ? '' : packageOf(name) || file || name;
}

/** {@link groupOf} for a node. */
export const colourGroup = ({ symbols, name, binary, frameType }: FlameTree, row: number, colouring: Colouring): string =>
  groupOf(symbols.text(name[row]), symbols.text(binary[row]), symbols.text(frameType[row]), colouring);

/** A colour's meaning and how much of the profile has it. */
export interface ColourGroup {
  group: string;
  flat: number;
  /** A node of the group. */
  row: number;
}

/** Groups of a tree by their flat value, the largest first. */
export function colourGroups(tree: FlameTree, colouring: Colouring): ColourGroup[] {
  // By name alone: a name whose package says nothing has its binary's colour wherever it is first seen.
  const ids = { binary: tree.binary, type: tree.frameType, function: tree.name, diff: tree.name }[colouring];
  const flat = new Float64Array(tree.symbols.size);
  const firstRow = new Uint32Array(tree.symbols.size);
  for (let row = tree.count - 1; row > 0; row--) {
    flat[ids[row]] += tree.flat[row];
    firstRow[ids[row]] = row;
  }
  const groups = new Map<string, ColourGroup>();
  for (let id = 0; id < flat.length; id++) {
    const row = firstRow[id];
    if (row === 0) continue;
    const group = colourGroup(tree, row, colouring);
    const entry = groups.get(group);
    if (entry) entry.flat += flat[id];
    else groups.set(group, { group, flat: flat[id], row });
  }
  return [...groups.values()].sort((a, b) => b.flat - a.flat || a.row - b.row);
}

/** Colours of one tree under one theme, computed when first asked for. */
export class Palette {
  private readonly fills: (Rgb | undefined)[];
  private readonly shared = new Map<string, Rgb>();
  private readonly texts = [new Map<Rgb, string>(), new Map<Rgb, string>(), new Map<Rgb, string>()];
  readonly hit: Rgb;

  constructor(
    readonly tree: FlameTree,
    readonly theme: FlameTheme,
    readonly colouring: Colouring,
    private readonly hues: Hues,
  ) {
    this.fills = new Array<Rgb | undefined>(tree.count);
    this.hit = hitColour(theme);
  }

  fill(row: number): Rgb {
    return (this.fills[row] ??= this.compute(row));
  }

  private compute(row: number): Rgb {
    const { tree, theme, colouring } = this;
    if (colouring === 'diff' && tree.diff) {
      const before = tree.cumulative[row] - tree.diff[row];
      const larger = Math.max(tree.cumulative[row], before);
      return this.share(`d${larger > 0 ? Math.round((tree.diff[row] / larger) * 50) : 0}`, () =>
        diffColour(theme, larger > 0 ? tree.diff![row] / larger : 0));
    }
    if (row === 0) return this.share('root', () => (theme.dark ? oklch(0.36, 0.012, 255) : oklch(0.9, 0.008, 255)));
    const name = tree.symbols.text(tree.name[row]);
    const group = colourGroup(tree, row, colouring);
    return this.share(`${group}\n${name}`, () => boxColour(theme, group === '' ? null : this.hues.of(group), name));
  }

  private share(key: string, make: () => Rgb): Rgb {
    let colour = this.shared.get(key);
    if (!colour) this.shared.set(key, (colour = make()));
    return colour;
  }

  css(colour: Rgb, shade: Shade): string {
    const cache = this.texts[shade];
    let text = cache.get(colour);
    if (text === undefined) {
      text = css(mix(colour, this.theme.background, TOWARDS_BACKGROUND[shade]));
      cache.set(colour, text);
    }
    return text;
  }
}

export interface Scene {
  tree: FlameTree;
  palette: Palette;
  boxes: BoxList;
  /** Scrolled-off height in CSS pixels. */
  scrollTop: number;
  /** Depth of the zoomed node; what is above it is faded. */
  focusDepth: number;
  /** Search hits: everything else is faded. */
  hits: RowSet | null;
  widths: TextWidths;
  /** Value that 100 % stands for. */
  total: number;
}

const percent = (value: number, total: number): string => {
  const share = total > 0 ? (value / total) * 100 : 0;
  return `${share >= 10 ? share.toFixed(1) : share.toFixed(2)} %`;
};

const isHit = (hits: RowSet, boxes: BoxList, i: number): boolean =>
  hits.before[boxes.rowEnd[i]] > hits.before[boxes.row[i]];

/** Paints the scene; `context` is already scaled to CSS pixels and cleared. */
export function paint(context: CanvasRenderingContext2D, scene: Scene): void {
  const { boxes, palette, hits } = scene;
  let last = '';
  for (let i = 0; i < boxes.count; i++) {
    const kind = boxes.kind[i] as BoxKind;
    if (kind === BoxKind.Hidden) continue;
    const hit = hits !== null && isHit(hits, boxes, i);
    const faded = (hits !== null && !hit) || boxes.depth[i] < scene.focusDepth;
    const shade = faded ? Shade.Faded : kind === BoxKind.Run && !hit ? Shade.Calm : Shade.Plain;
    const fill = palette.css(hit ? palette.hit : palette.fill(boxes.row[i]), shade);
    if (fill !== last) {
      context.fillStyle = fill;
      last = fill;
    }
    const y = boxes.depth[i] * ROW_PX - scene.scrollTop;
    const width = boxes.width[i];
    if (width >= MIN_ROUND_PX) {
      context.beginPath();
      context.roundRect(boxes.x[i], y, width - 1, BOX_PX, 2);
      context.fill();
    } else {
      context.fillRect(boxes.x[i], y, width > 2 ? width - 0.75 : width, BOX_PX);
    }
  }
  paintHidden(context, scene);
  paintLabels(context, scene);
}

let hatch: { dark: boolean; pattern: CanvasPattern | null } | null = null;

function hatchPattern(context: CanvasRenderingContext2D, dark: boolean): CanvasPattern | null {
  if (hatch?.dark === dark) return hatch.pattern;
  const tile = document.createElement('canvas');
  tile.width = tile.height = 8;
  const draw = tile.getContext('2d');
  if (!draw) return null;
  draw.strokeStyle = dark ? 'rgba(170,182,200,.28)' : 'rgba(70,82,104,.24)';
  draw.lineWidth = 1.2;
  draw.beginPath();
  for (const shift of [-8, 0, 8]) {
    draw.moveTo(shift, 8);
    draw.lineTo(shift + 8, 0);
  }
  draw.stroke();
  hatch = { dark, pattern: context.createPattern(tile, 'repeat') };
  return hatch.pattern;
}

function paintHidden(context: CanvasRenderingContext2D, scene: Scene): void {
  const { boxes, tree } = scene;
  const dark = scene.palette.theme.dark;
  for (let i = 0; i < boxes.count; i++) {
    if (boxes.kind[i] !== BoxKind.Hidden) continue;
    const y = boxes.depth[i] * ROW_PX - scene.scrollTop;
    const width = boxes.width[i];
    context.beginPath();
    context.roundRect(boxes.x[i] + 0.5, y + 0.5, Math.max(1, width - 2), BOX_PX - 1, 2);
    context.fillStyle = hatchPattern(context, dark) ?? 'transparent';
    context.fill();
    context.strokeStyle = dark ? 'rgba(170,182,200,.35)' : 'rgba(70,82,104,.32)';
    context.lineWidth = 1;
    context.stroke();
    if (width < MIN_LABEL_PX) continue;
    const share = percent(tree.hidden[boxes.row[i]], scene.total);
    const room = width - 2 * PADDING_PX;
    const text = [`trimmed: ${share}, click to load`, `trimmed: ${share}`, share].find(
      (candidate) => scene.widths.of(candidate) <= room,
    );
    if (!text) continue;
    // A plate under the letters, so that the hatching does not run through them.
    context.fillStyle = css(scene.palette.theme.background);
    context.fillRect(boxes.x[i] + PADDING_PX - 2, y + 3, scene.widths.of(text) + 4, BOX_PX - 6);
    context.fillStyle = dark ? 'rgba(200,208,222,.9)' : 'rgba(52,62,82,.95)';
    context.fillText(text, boxes.x[i] + PADDING_PX, y + BOX_PX / 2 + 0.5);
  }
}

function paintLabels(context: CanvasRenderingContext2D, scene: Scene): void {
  const { boxes, tree, hits } = scene;
  const dark = scene.palette.theme.dark;
  const ink = dark ? INKS.dark : INKS.light;
  const inkFaded = dark ? 'rgba(200,208,222,.62)' : 'rgba(60,70,90,.7)';
  const inkHit = INKS.hit;
  let last = '';
  for (let i = 0; i < boxes.count; i++) {
    const width = boxes.width[i];
    if (width < MIN_LABEL_PX || boxes.kind[i] !== BoxKind.Node) continue;
    const row = boxes.row[i];
    const hit = hits !== null && hits.mask[row] === 1;
    const faded = (hits !== null && !hit) || boxes.depth[i] < scene.focusDepth;
    const room = width - 2 * PADDING_PX;
    const name = frameLabel(tree, row);
    const text = fitLabel(name, room, scene.widths);
    if (text === '') continue;
    const style = hit && !faded ? inkHit : faded ? inkFaded : ink;
    if (style !== last) {
      context.fillStyle = style;
      last = style;
    }
    const x = boxes.x[i] + PADDING_PX;
    const y = boxes.depth[i] * ROW_PX - scene.scrollTop + BOX_PX / 2 + 0.5;
    context.fillText(text, x, y);
    if (text !== name || width < 120) continue;
    const share = percent(tree.cumulative[row], scene.total);
    const at = scene.widths.of(text) + 8;
    if (at + scene.widths.of(share) > room) continue;
    context.globalAlpha = 0.55;
    context.fillText(share, x + at, y);
    context.globalAlpha = 1;
  }
}

/** Outlines of boxes: `strong` one box, `weak` every box that `chosen` accepts. */
export function outline(
  context: CanvasRenderingContext2D,
  scene: Pick<Scene, 'boxes' | 'scrollTop'>,
  chosen: (row: number) => boolean,
  style: string,
  lineWidth: number,
): void {
  const { boxes } = scene;
  context.strokeStyle = style;
  context.lineWidth = lineWidth;
  const inset = lineWidth / 2;
  context.beginPath();
  for (let i = 0; i < boxes.count; i++) {
    if (boxes.kind[i] !== BoxKind.Node || !chosen(boxes.row[i])) continue;
    const y = boxes.depth[i] * ROW_PX - scene.scrollTop;
    const width = Math.max(lineWidth + 1, boxes.width[i] - 1);
    context.roundRect(boxes.x[i] + inset, y + inset, width - lineWidth, BOX_PX - lineWidth, 2);
  }
  context.stroke();
}
