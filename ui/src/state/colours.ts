/** What colours mean on this page: one set of hues for graph, legend and table. */
import { computed } from '@preact/signals';
import { Hues, type FlameTheme } from '../flame/colour';
import { colourGroups, type ColourGroup } from '../flame/paint';
import { page } from './store';
import { dark } from './theme';
import { tree } from './zoom';

const THEMES: Record<'light' | 'dark', FlameTheme> = {
  light: { dark: false, background: [255, 255, 255] },
  dark: { dark: true, background: [20, 24, 31] },
};

export const theme = (): FlameTheme => THEMES[dark.value ? 'dark' : 'light'];
export const colourBy = computed(() => page.value.colourBy);

/** Groups of the report by their flat value, the largest first. */
export const groups = computed<ColourGroup[]>(() => (tree.value ? colourGroups(tree.value, colourBy.value) : []));

/** Whether the report says of any frame what runs it; profiles from pprof files do not. */
export const hasFrameTypes = computed(() => tree.value?.frameType.some((id) => id > 0) ?? false);

const books = { function: new Hues(), binary: new Hues(), type: new Hues() };

export const hues = computed<Hues>(() => {
  const book = books[colourBy.value];
  book.assign(groups.value.map(({ group }) => group));
  return book;
});
