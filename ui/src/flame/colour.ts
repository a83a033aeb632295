/**
 * Colours of boxes. Chosen in OKLCH, so that every hue has the same lightness and the text on
 * it the same contrast. A name prefers the same hue everywhere, see {@link Hues}.
 */

export type Rgb = readonly [red: number, green: number, blue: number];

/** OKLCH (lightness 0–1, chroma, hue in degrees) as sRGB bytes, clipped into the gamut. */
export function oklch(lightness: number, chroma: number, hue: number): Rgb {
  const a = chroma * Math.cos((hue * Math.PI) / 180);
  const b = chroma * Math.sin((hue * Math.PI) / 180);
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const gamma = (x: number): number => {
    const y = x <= 0.0031308 ? 12.92 * x : 1.055 * Math.max(x, 0) ** (1 / 2.4) - 0.055;
    return Math.round(Math.min(1, Math.max(0, y)) * 255);
  };
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

export const css = ([r, g, b]: Rgb): string => `rgb(${r},${g},${b})`;

/** `share` of `b`, the rest `a`. */
export const mix = (a: Rgb, b: Rgb, share: number): Rgb => [
  Math.round(a[0] + (b[0] - a[0]) * share),
  Math.round(a[1] + (b[1] - a[1]) * share),
  Math.round(a[2] + (b[2] - a[2]) * share),
];

function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  h ^= h >>> 16;
  h = Math.imul(h, 0x85ebca6b);
  h ^= h >>> 13;
  return h >>> 0;
}

/** Hues that stay apart from each other and from the amber of search hits. */
const HUES = [28, 44, 58, 12, 354, 334, 312, 290, 268, 246, 224, 202, 180, 160, 140, 118];

/**
 * Hues of groups (packages or binaries). Each group prefers the hue that follows from its name;
 * where a larger group has that already, it takes a free one, so that the largest are told apart.
 * A hue once given stays for the life of the page: colours must not change under a zoom.
 */
export class Hues {
  private readonly given = new Map<string, number>();
  private readonly taken = new Set<number>();

  /** Gives hues to the groups that have none yet; the largest group comes first. */
  assign(groups: Iterable<string>): void {
    for (const group of groups) {
      if (group === '' || this.given.has(group)) continue;
      let index = hash(group) % HUES.length;
      // Five is prime to the number of hues: every one is tried, and neighbours come late.
      for (let tries = 0; tries < HUES.length && this.taken.has(index); tries++) index = (index + 5) % HUES.length;
      this.taken.add(index);
      this.given.set(group, index);
    }
  }

  /** In degrees. */
  of(group: string): number {
    const h = hash(group);
    return HUES[this.given.get(group) ?? h % HUES.length] + ((h >>> 8) % 9) - 4;
  }
}

export interface FlameTheme {
  dark: boolean;
  background: Rgb;
}

/** The fill of a box: `hue` of its group, or grey for null; a little lightness by `name`. */
export function boxColour(theme: FlameTheme, hue: number | null, name: string): Rgb {
  const shade = ((hash(name) & 255) / 255 - 0.5) * 2;
  if (hue === null) {
    return theme.dark ? oklch(0.42 + shade * 0.02, 0.012, 255) : oklch(0.87 + shade * 0.02, 0.012, 255);
  }
  return theme.dark
    ? oklch(0.455 + shade * 0.03, 0.068, hue)
    : oklch(0.845 + shade * 0.025, 0.072, hue);
}

/**
 * Comparison: blue where less is spent than before, red where more, which also those can tell apart
 * who do not see red and green; `change` is −1 … 1.
 */
export function diffColour(theme: FlameTheme, change: number): Rgb {
  const strength = Math.min(1, Math.abs(change)) ** 0.6;
  const neutral: Rgb = theme.dark ? oklch(0.38, 0.008, 255) : oklch(0.91, 0.006, 255);
  if (strength < 0.01) return neutral;
  const full = change > 0
    ? theme.dark ? oklch(0.52, 0.16, 27) : oklch(0.73, 0.16, 27)
    : theme.dark ? oklch(0.52, 0.13, 255) : oklch(0.74, 0.13, 250);
  return mix(neutral, full, strength);
}

/** The fill of a search hit. */
export const hitColour = (theme: FlameTheme): Rgb => (theme.dark ? oklch(0.72, 0.14, 78) : oklch(0.86, 0.155, 88));
