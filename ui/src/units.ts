/** Numbers for people: durations, bytes, counts, shares, and what a profile's value means per second. */

const trim = (value: number): string => {
  const size = Math.abs(value);
  if (size >= 100 || value === 0) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
};

function scaled(value: number, steps: readonly (readonly [number, string])[]): string {
  const size = Math.abs(value);
  for (const [factor, unit] of steps) if (size >= factor) return `${trim(value / factor)} ${unit}`;
  const [factor, unit] = steps[steps.length - 1];
  return `${trim(value / factor)} ${unit}`;
}

const NANOSECONDS = [
  [86_400e9, 'd'],
  [3_600e9, 'h'],
  [60e9, 'min'],
  [1e9, 's'],
  [1e6, 'ms'],
  [1e3, 'µs'],
  [1, 'ns'],
] as const;

const BYTES = [
  [2 ** 50, 'PiB'],
  [2 ** 40, 'TiB'],
  [2 ** 30, 'GiB'],
  [2 ** 20, 'MiB'],
  [2 ** 10, 'KiB'],
  [1, 'B'],
] as const;

const COUNTS = [
  [1e12, 'T'],
  [1e9, 'G'],
  [1e6, 'M'],
  [1e3, 'k'],
] as const;

/** A value in the unit of its profile: `12.3 s`, `4.1 GiB`, `18.2 k`. */
export function formatValue(value: number, unit: string): string {
  switch (unit) {
    case 'nanoseconds':
      return value === 0 ? '0 s' : scaled(value, NANOSECONDS);
    case 'microseconds':
      return value === 0 ? '0 s' : scaled(value * 1e3, NANOSECONDS);
    case 'milliseconds':
      return value === 0 ? '0 s' : scaled(value * 1e6, NANOSECONDS);
    case 'seconds':
      return value === 0 ? '0 s' : scaled(value * 1e9, NANOSECONDS);
    case 'bytes':
      return scaled(value, BYTES);
    case 'count':
    case '':
      return formatCount(value);
    default:
      return `${formatCount(value)} ${unit}`;
  }
}

/** `950`, `18.2 k`, `4.1 M`. */
export function formatCount(value: number): string {
  return Math.abs(value) < 1000 ? trimCount(value) : scaled(value, COUNTS);
}

const trimCount = (value: number): string => (Number.isInteger(value) ? String(value) : trim(value));

/** `12.3 %`. Small shares keep two digits that mean something. */
export function formatShare(value: number, total: number): string {
  if (total === 0) return '0 %';
  const share = (value / Math.abs(total)) * 100;
  const size = Math.abs(share);
  if (size === 0) return '0 %';
  if (size < 0.01) return '< 0.01 %';
  return `${size >= 10 ? share.toFixed(1) : share.toFixed(2)} %`;
}

/** A change against `before` with its sign: `+12.3 %`, `−4.00 %`, `new` where there was nothing. */
export function formatChange(change: number, before: number): string {
  if (change === 0) return '±0 %';
  if (before <= 0) return change > 0 ? 'new' : '';
  const share = (Math.abs(change) / before) * 100;
  const sign = change > 0 ? '+' : '−';
  // A share of more than that is easier read as a factor.
  if (share >= 1000) return `×${trim(share / 100 + 1)}`;
  return `${sign}${share >= 10 ? share.toFixed(1) : share >= 0.01 ? share.toFixed(2) : '< 0.01'} %`;
}

/** A signed value: `+1.20 s`. */
export const formatSigned = (value: number, unit: string): string => (value > 0 ? '+' : value < 0 ? '−' : '') + formatValue(Math.abs(value), unit);

/** What the vertical axis of the series shows. */
export interface SeriesUnit {
  /** In words, for the title: `CPU cores`. */
  title: string;
  format(value: number): string;
}

export interface SeriesKind {
  sampleType: string;
  sampleUnit: string;
  periodType: string;
  delta: boolean;
}

/** The unit of `valuePerSecond`. CPU time per time is cores; other time per time is a ratio of waiting threads. */
export function seriesUnit(kind: SeriesKind): SeriesUnit {
  const unit = kind.sampleUnit;
  if (!kind.delta) return { title: nameOf(kind), format: (value) => formatValue(value, unit) };
  if (unit === 'nanoseconds') {
    return isCpu(kind)
      ? { title: 'CPU cores', format: plain }
      : { title: `${nameOf(kind)}, seconds per second`, format: (value) => (value === 0 ? '0' : `${plain(value)} s/s`) };
  }
  // The server multiplies samples:count of an on-CPU profile by its period.
  if (unit === 'count' && kind.sampleType === 'samples' && isCpu(kind)) return { title: 'CPU cores', format: plain };
  if (unit === 'bytes') return { title: `${nameOf(kind)} per second`, format: (value) => `${formatValue(value, unit)}/s` };
  return { title: `${nameOf(kind)} per second`, format: (value) => `${formatValue(value, unit)}/s` };
}

const isCpu = (kind: SeriesKind): boolean => kind.periodType === 'cpu' || kind.sampleType === 'cpu';
const nameOf = (kind: SeriesKind): string => kind.sampleType.replaceAll('_', ' ');

const plain = (value: number): string => {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return trimZeros(value.toFixed(1));
  if (size >= 1) return trimZeros(value.toFixed(2));
  return trimZeros(value.toPrecision(2));
};

const trimZeros = (text: string): string => (text.includes('.') && !text.includes('e') ? text.replace(/\.?0+$/, '') : text);

/** A duration of the clock, in milliseconds: `15 min`, `2 h`, `3 d`. */
export function formatSpan(milliseconds: number): string {
  return milliseconds === 0 ? '0 s' : scaled(milliseconds * 1e6, NANOSECONDS).replace(/\.0+ /, ' ');
}
