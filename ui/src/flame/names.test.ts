import { expect, test } from 'vitest';
import { boxColour, diffColour, Hues, oklch } from './colour';
import { fitLabel, TextWidths } from './label';
import { lastName, packageOf, shortName } from './names';

test.each([
  ['net/http.(*conn).serve', 'net/http', '(*conn).serve', 'serve'],
  ['runtime.mallocgc', 'runtime', 'runtime.mallocgc', 'mallocgc'],
  ['main.main', 'main', 'main.main', 'main'],
  ['github.com/acme/x.Trace.func1', 'github.com/acme/x', 'Trace.func1', 'Trace.func1'],
  ['github.com/acme/x.(*T[...]).Do', 'github.com/acme/x', '(*T[...]).Do', 'Do'],
  ['core::ops::function::FnOnce::call_once', 'core', 'FnOnce::call_once', 'call_once'],
  ['<alloc::vec::Vec<T,A> as core::iter::Extend<T>>::extend', 'alloc', 'Vec::extend', 'extend'],
  ['tokio::runtime::task::{{closure}}', 'tokio', 'runtime::task::{{closure}}', 'task::{{closure}}'],
  ['core::ptr::drop_in_place<tokio::task::Stage<hyper::Conn>>', 'core', 'ptr::drop_in_place', 'drop_in_place'],
  ['std::vector<int, std::allocator<int>>::push_back(int const&)', 'std', 'vector::push_back', 'push_back'],
  ['<u64>::wrapping_add', 'u64', 'u64::wrapping_add', 'wrapping_add'],
  ['ZSTD_compressBlock_fast', '', 'ZSTD_compressBlock_fast', 'ZSTD_compressBlock_fast'],
  ['0x7f10a40', '', '0x7f10a40', '0x7f10a40'],
  ['', '', '', ''],
])('%s', (name, group, short, last) => {
  expect(packageOf(name)).toBe(group);
  expect(shortName(name)).toBe(short);
  expect(lastName(shortName(name))).toBe(last);
});

test('odd brackets do no harm', () => {
  for (const name of ['<', '<<<', '::', 'a::', '>::<', 'operator->', 'f(', '(anonymous namespace)::f(int)', '_<&', 'a.', '.', '/']) {
    expect(() => [packageOf(name), shortName(name), lastName(shortName(name))]).not.toThrow();
  }
});

test('labels step down from the whole name to a stump', () => {
  const widths = new TextWidths((text) => text.length * 10);
  const fit = (room: number): string => fitLabel('net/http.(*conn).serve', room, widths);
  expect(fit(220)).toBe('net/http.(*conn).serve');
  expect(fit(219)).toBe('(*conn).serve');
  expect(fit(129)).toBe('serve');
  expect(fit(49)).toBe('ser…');
  expect(fit(20)).toBe('');
  expect(fitLabel('größe', 50, widths)).toBe('größe');
});

test('colours: the same for a name every time, in range, apart for themes', () => {
  expect(oklch(1, 0, 0)).toEqual([255, 255, 255]);
  expect(oklch(0, 0, 0)).toEqual([0, 0, 0]);
  const light = { dark: false, background: [255, 255, 255] as const };
  const dark = { dark: true, background: [0, 0, 0] as const };
  const luminance = ([r, g, b]: readonly [number, number, number]): number => 0.2126 * r + 0.7152 * g + 0.0722 * b;
  const hues = new Hues();
  for (const hue of [...['runtime', 'net/http', 'core', 'std', '[kernel.kallsyms]'].map((group) => hues.of(group)), null]) {
    expect(luminance(boxColour(light, hue, 'x'))).toBeGreaterThan(165);
    expect(luminance(boxColour(dark, hue, 'x'))).toBeLessThan(110);
  }
  const [red, green] = diffColour(light, 0.8);
  expect(red).toBeGreaterThan(green);
  const [lessRed, lessGreen] = diffColour(light, -0.8);
  expect(lessGreen).toBeGreaterThan(lessRed);
});

test('hues: apart for the largest groups, and never changed', () => {
  const hues = new Hues();
  const groups = Array.from({ length: 16 }, (_, i) => `package${i}`);
  hues.assign(groups.slice(0, 3));
  const first = hues.of('package0');
  expect(first).toBe(new Hues().of('package0'));
  hues.assign([...groups].reverse());
  expect(hues.of('package0')).toBe(first);
  const apart = groups.map((group) => hues.of(group)).sort((a, b) => a - b);
  expect(apart.every((hue, i) => i === 0 || hue - apart[i - 1] >= 0)).toBe(true);
  expect(new Set(groups.map((group) => Math.round(hues.of(group) / 2))).size).toBeGreaterThan(12);
  hues.assign(Array.from({ length: 100 }, (_, i) => `more${i}`));
  expect(hues.of('more99')).toBeTypeOf('number');
});
