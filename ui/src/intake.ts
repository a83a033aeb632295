/** What comes in, put in words and in order: targets, jobs and senders as the Targets view shows them. */
import type { Job, Sender, SenderCounts, Target } from './api/wire';

export type Health = 'good' | 'bad' | 'unknown';

/** What is down is what one comes to see. */
const URGENCY: Record<Health, number> = { bad: 0, unknown: 1, good: 1 };

const PRESENCE: Record<Health, number> = { bad: 0, good: 1, unknown: 2 };

/** As long as the store lists a sender as present. */
const PRESENT_MS = 5 * 60_000;

export function healthOf(target: Target): Health {
  const text = target.health.toUpperCase();
  if (text.includes('GOOD') || text === 'UP') return 'good';
  return text.includes('BAD') || text === 'DOWN' ? 'bad' : 'unknown';
}

export const labelsOf = (target: Target): string => (target.labels?.labels ?? []).map(({ name, value }) => `${name}=${value}`).join(' ');

/** A job with the targets to show. */
export interface JobRow {
  name: string;
  job: Job | null;
  targets: Target[];
}

const isTroubled = ({ job, targets }: JobRow): boolean =>
  targets.some((target) => healthOf(target) === 'bad') || !!job?.error || !!job?.discoveries.some(({ lastError }) => lastError !== '');

/** Jobs with the targets that the search finds, those in trouble first. A job that is found itself shows all its targets. */
export function jobRows(targets: Record<string, { targets: Target[] }>, jobs: Job[], search: string): JobRow[] {
  const needle = search.toLowerCase();
  const known = new Map(jobs.map((job) => [job.name, job]));
  const names = new Set([...known.keys(), ...Object.keys(targets)]);
  return [...names]
    .map((name): JobRow => {
      const job = known.get(name) ?? null;
      const found = (targets[name]?.targets ?? [])
        .filter((target) => `${name} ${target.url} ${target.lastError} ${labelsOf(target)}`.toLowerCase().includes(needle))
        .sort((a, b) => URGENCY[healthOf(a)] - URGENCY[healthOf(b)] || (a.url < b.url ? -1 : 1));
      return { name, job, targets: found };
    })
    .filter(({ name, job, targets: found }) => {
      const own = `${name} ${job?.error ?? ''} ${(job?.discoveries ?? []).map(({ kind, subject, lastError }) => `${kind} ${subject} ${lastError}`).join(' ')}`;
      return found.length > 0 || own.toLowerCase().includes(needle);
    })
    .sort((a, b) => Number(isTroubled(b)) - Number(isTroubled(a)) || (a.name < b.name ? -1 : 1));
}

/** All ways in of a sender, added up. */
export interface SenderRow {
  sender: Sender;
  health: Health;
  ways: string[];
  accepted: number;
  samples: number;
  rejected: number;
  repaired: number;
  /** Requests refused by reason, the most frequent first. */
  refused: [reason: string, requests: number][];
}

const WAYS: Record<string, string> = {
  write_raw: 'pprof',
  write: 'agent, first schema',
  write_arrow: 'agent',
  otlp_grpc: 'OTLP',
  otlp_http: 'OTLP over HTTP',
  debuginfo: 'object files',
};

/** The way in as people know it. */
export const wayOf = (protocol: string): string => WAYS[protocol] ?? protocol.replaceAll('_', ' ');

export const nameOf = ({ node, address }: Sender): string => node || address || 'unknown';

function senderRow(sender: Sender, now: number): SenderRow {
  const sum = (number: (counts: SenderCounts) => string): number => sender.counts.reduce((all, counts) => all + Number(number(counts)), 0);
  const refused = new Map<string, number>();
  for (const { reason, requests } of sender.counts.flatMap((counts) => counts.refused)) refused.set(reason, (refused.get(reason) ?? 0) + Number(requests));
  const present = now - Date.parse(sender.lastPush ?? '') < PRESENT_MS;
  return {
    sender,
    health: sender.lastError ? 'bad' : present ? 'good' : 'unknown',
    ways: sender.counts.map(({ protocol }) => wayOf(protocol)),
    accepted: sum((counts) => counts.acceptedRequests),
    samples: sum((counts) => counts.samples),
    rejected: sum((counts) => counts.rejectedSamples),
    repaired: sum((counts) => counts.repairedStrings),
    refused: [...refused].sort(([a, few], [b, many]) => many - few || (a < b ? -1 : 1)),
  };
}

/** Senders that the search finds: those in trouble first, then those that are present, by name, so that rows stay where they are. */
export function senderRows(senders: Sender[], search: string, now: number): SenderRow[] {
  const needle = search.toLowerCase();
  return senders
    .map((sender) => senderRow(sender, now))
    .filter(({ sender, ways, refused }) => `${sender.node} ${sender.address} ${sender.lastError} ${ways.join(' ')} ${refused.map(([reason]) => reason).join(' ')}`.toLowerCase().includes(needle))
    .sort((a, b) => PRESENCE[a.health] - PRESENCE[b.health] || nameOf(a.sender).localeCompare(nameOf(b.sender), 'en', { numeric: true }));
}
