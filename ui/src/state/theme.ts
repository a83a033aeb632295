/** Light or dark: the system's choice until the reader makes their own, which is kept. */
import { computed, effect, signal } from '@preact/signals';

const KEY = 'decima.theme';
type Choice = 'light' | 'dark' | '';

const read = (): Choice => {
  try {
    const saved = localStorage.getItem(KEY);
    return saved === 'light' || saved === 'dark' ? saved : '';
  } catch {
    return '';
  }
};

const system = matchMedia('(prefers-color-scheme: dark)');
const systemDark = signal(system.matches);
system.addEventListener('change', (event) => {
  systemDark.value = event.matches;
});

const choice = signal<Choice>(read());
export const dark = computed(() => (choice.value === '' ? systemDark.value : choice.value === 'dark'));

effect(() => {
  document.documentElement.dataset.theme = dark.value ? 'dark' : 'light';
});

export function toggleTheme(): void {
  choice.value = dark.peek() ? 'light' : 'dark';
  try {
    localStorage.setItem(KEY, choice.value);
  } catch {
    // Kept for this visit only.
  }
}
