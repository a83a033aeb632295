import { expect, test } from 'vitest';
import { boxColour, diffColour, hitColour, mix, type FlameTheme, type Rgb } from './colour';
import { INKS } from './paint';

const THEMES: FlameTheme[] = [
  { dark: false, background: [255, 255, 255] },
  { dark: true, background: [20, 24, 31] },
];

/** Relative luminance as WCAG defines it. */
function luminance([r, g, b]: Rgb): number {
  const linear = (byte: number): number => {
    const c = byte / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  };
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

function contrast(a: Rgb, b: Rgb): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const rgb = (hex: string): Rgb => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)) as unknown as Rgb;
const NAMES = Array.from({ length: 60 }, (_, i) => `name ${i}`);

test.each(THEMES)('labels can be read on every box (%o)', (theme) => {
  const ink = rgb(theme.dark ? INKS.dark : INKS.light);
  for (let hue = 0; hue < 360; hue += 3) {
    for (const name of NAMES) expect(contrast(ink, boxColour(theme, hue, name))).toBeGreaterThanOrEqual(4.5);
  }
  for (const name of NAMES) expect(contrast(ink, boxColour(theme, null, name))).toBeGreaterThanOrEqual(4.5);
  for (let change = -1; change <= 1; change += 0.05) expect(contrast(ink, diffColour(theme, change))).toBeGreaterThanOrEqual(4.5);
  expect(contrast(rgb(INKS.hit), hitColour(theme))).toBeGreaterThanOrEqual(4.5);
});

test.each(THEMES)('more is red, less is blue, and the stronger the more there is (%o)', (theme) => {
  const strength = ([r, , b]: Rgb): number => r - b;
  const at = [-1, -0.5, -0.1, 0, 0.1, 0.5, 1].map((change) => strength(diffColour(theme, change)));
  for (let i = 1; i < at.length; i++) expect(at[i]).toBeGreaterThan(at[i - 1]);
  expect(Math.abs(at[3])).toBeLessThan(12);
});

test('mixing', () => {
  expect(mix([0, 100, 200], [100, 100, 100], 0.5)).toEqual([50, 100, 150]);
});
