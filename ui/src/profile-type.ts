/** Profile types: their spelling in selectors, which to open first, and what they are in words. */
import type { ProfileType } from './api/wire';

/** `process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta`. */
export function typeKey(type: ProfileType): string {
  const parts = [type.name, type.sampleType, type.sampleUnit, type.periodType, type.periodUnit];
  return parts.join(':') + (type.delta ? ':delta' : '');
}

/** Reads a type from its spelling; null where it is none. */
export function parseTypeKey(key: string): ProfileType | null {
  const parts = key.split(':');
  if (parts.length !== 5 && parts.length !== 6) return null;
  if (parts.length === 6 && parts[5] !== 'delta') return null;
  const [name, sampleType, sampleUnit, periodType, periodUnit] = parts;
  return { name, sampleType, sampleUnit, periodType, periodUnit, delta: parts.length === 6 };
}

/** Agents' types of time on the processor, the best known first. */
const AGENT_TYPES = ['parca_agent', 'go_opentelemetry_io_ebpf_profiler', 'otel_profiling_agent_on_cpu', 'parca_agent_cpu'];

/** What the store tells of itself comes after everything that others sent. */
const OWN_RANK = 100;

/** How useful a type is to open on: the smaller, the more. */
function rank(type: ProfileType): number {
  const own = type.name.startsWith('decima_') ? OWN_RANK : 0;
  const agent = AGENT_TYPES.indexOf(type.name);
  if (agent >= 0 && type.sampleType === 'samples' && type.delta) return agent;
  if (type.name === 'process_cpu') return type.sampleType === 'cpu' ? 4 : 5;
  if (type.sampleType === 'cpu') return own + 6;
  if (type.periodType === 'cpu') return own + 7;
  if (type.sampleType === 'inuse_space') return own + 8;
  if (type.sampleType === 'alloc_space') return own + 9;
  return own + 10;
}

/** The type that the page opens on; of equals the first. */
export function preferredType(types: readonly ProfileType[]): ProfileType | null {
  return types.reduce<ProfileType | null>((best, type) => (best === null || rank(type) < rank(best) ? type : best), null);
}

export interface TypeText {
  group: 'CPU' | 'Memory' | 'Waiting' | 'Concurrency' | 'Other';
  title: string;
  text: string;
}

const BY_SAMPLE: Record<string, TypeText> = {
  'inuse_space': { group: 'Memory', title: 'Memory in use', text: 'Bytes allocated and not yet freed' },
  'inuse_objects': { group: 'Memory', title: 'Objects in use', text: 'Objects allocated and not yet freed' },
  'alloc_space': { group: 'Memory', title: 'Allocated memory', text: 'Bytes allocated, freed or not' },
  'alloc_objects': { group: 'Memory', title: 'Allocated objects', text: 'Objects allocated, freed or not' },
  'goroutine': { group: 'Concurrency', title: 'Goroutines', text: 'Goroutines that exist, by where they stand' },
  'goroutines': { group: 'Concurrency', title: 'Goroutines', text: 'Goroutines that exist, by where they stand' },
  'threadcreate': { group: 'Concurrency', title: 'Threads created', text: 'Operating system threads, by what created them' },
};

/** A type in words; unknown ones keep their raw parts. */
export function describeType(type: ProfileType): TypeText {
  const store = type.name.startsWith('decima_') ? ' of this store' : '';
  const known = BY_SAMPLE[type.sampleType];
  if (known) {
    const since = type.sampleType.startsWith('alloc') ? (type.delta ? 'in each interval' : 'since the process began') : '';
    return { ...known, title: known.title + store, text: since ? `${known.text}, ${since}` : known.text };
  }
  if (AGENT_TYPES.includes(type.name) && type.sampleType === 'samples') {
    return { group: 'CPU', title: 'On-CPU', text: 'Time on the processor, sampled for all processes by the agent' };
  }
  if (type.name === 'parca_agent' && type.sampleType === 'wallclock') {
    return { group: 'Waiting', title: 'Off-CPU', text: 'Time off the processor, seen by the agent' };
  }
  if (type.name === 'fgprof') {
    return { group: 'Waiting', title: `Wall clock ${type.sampleType === 'samples' ? 'samples' : 'time'}`, text: 'On and off the processor (fgprof)' };
  }
  if (type.sampleType === 'cpu') {
    return { group: 'CPU', title: `CPU time${store}`, text: store ? 'Where Decima itself spends processor time' : 'Time on the processor' };
  }
  if (type.sampleType === 'samples' && type.periodType === 'cpu') {
    return { group: 'CPU', title: `CPU samples${store}`, text: 'Number of samples taken on the processor' };
  }
  if (type.name === 'block' || type.name === 'mutex') {
    const what = type.name === 'block' ? 'blocked on channels, locks and selects' : 'waiting for mutexes held by others';
    return type.sampleType === 'delay'
      ? { group: 'Waiting', title: type.name === 'block' ? 'Blocking time' : 'Lock wait time', text: `Time ${what}` }
      : { group: 'Waiting', title: type.name === 'block' ? 'Blocking events' : 'Lock contentions', text: `Number of times goroutines were ${what}` };
  }
  return {
    group: type.periodType === 'cpu' ? 'CPU' : type.sampleUnit === 'bytes' ? 'Memory' : 'Other',
    title: `${type.name}: ${type.sampleType.replaceAll('_', ' ')}`,
    text: `${type.sampleUnit}, sampled per ${type.periodType} ${type.periodUnit}`,
  };
}

const SAMPLE_ORDER = ['cpu', 'samples', 'inuse_space', 'inuse_objects', 'alloc_space', 'alloc_objects', 'delay', 'contentions'];

/** Order within a group of the picker: the reader's own programs first, the most telling sample type first. */
export function compareTypes(a: ProfileType, b: ProfileType): number {
  const own = (type: ProfileType): number => Number(type.name.startsWith('decima_'));
  const sample = (type: ProfileType): number => (SAMPLE_ORDER.indexOf(type.sampleType) + SAMPLE_ORDER.length + 1) % (SAMPLE_ORDER.length + 1);
  return own(a) - own(b) || sample(a) - sample(b) || (typeKey(a) < typeKey(b) ? -1 : 1);
}

export const TYPE_GROUPS: TypeText['group'][] = ['CPU', 'Memory', 'Waiting', 'Concurrency', 'Other'];
