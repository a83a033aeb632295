/** Values over time, as QueryRange answers them. */
import { fields, readText, readTime } from './message';
import type { Label } from './wire';

/** One line of the series graph. */
export interface Series {
  labels: Label[];
  /** Milliseconds, ascending. */
  times: number[];
  /** Per second for delta types, as they are for others. */
  values: number[];
  /** Of all points, in the unit of the profile. */
  sum: number;
}

/** Labels in the order of their names, as the server gives them. */
function readLabels(labelset: Uint8Array): Label[] {
  const labels: Label[] = [];
  for (const { id, bytes } of fields(labelset)) {
    if (id !== 1) continue;
    const label: Label = { name: '', value: '' };
    for (const part of fields(bytes)) {
      if (part.id === 1) label.name = readText(part.bytes);
      else if (part.id === 2) label.value = readText(part.bytes);
    }
    labels.push(label);
  }
  return labels;
}

/** Reads a QueryRangeResponse. */
export function readSeries(message: Uint8Array): Series[] {
  const all: Series[] = [];
  for (const one of fields(message)) {
    if (one.id !== 1) continue;
    const series: Series = { labels: [], times: [], values: [], sum: 0 };
    for (const { id, bytes } of fields(one.bytes)) {
      if (id === 1) series.labels = readLabels(bytes);
      if (id !== 2) continue;
      let time = 0;
      let perSecond = 0;
      for (const part of fields(bytes)) {
        if (part.id === 1) time = readTime(part.bytes);
        else if (part.id === 2) series.sum += part.number;
        else if (part.id === 3) perSecond = part.number;
      }
      series.times.push(time);
      series.values.push(perSecond);
    }
    all.push(series);
  }
  return all;
}
