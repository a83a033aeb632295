/**
 * Where a flame graph is decoded: a small one at once, a large one by a worker, so that the page
 * goes on answering while it reads. The worker is started when it is first needed: small reports,
 * and so the first picture, do not wait for it.
 */
import type { SymbolPool } from '../flame/symbols';
import type { FlameTree } from '../flame/tree';
import { decodeFlame } from './arrow';
import { adopt, type SentTree } from './transfer';

/** Bytes that are decoded faster than a worker starts, some 16,000 nodes: what a report holds unless more is asked for. */
const AT_ONCE_BYTES = 2 << 20;

/** What the worker is told. */
export interface DecodeRequest {
  id: number;
  bytes: Uint8Array;
  compares: boolean;
}

/** What it answers: a tree, null for a report without nodes, or what is wrong. */
export type DecodeAnswer = { id: number; tree: SentTree | null } | { id: number; error: string };

interface Waiting {
  done(tree: SentTree | null): void;
  failed(cause: Error): void;
}

const waiting = new Map<number, Waiting>();
let worker: Worker | null = null;
let last = 0;

function started(): Worker {
  if (worker) return worker;
  worker = new Worker(new URL('./decode.worker.ts', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }: MessageEvent<DecodeAnswer>) => {
    const entry = waiting.get(data.id);
    waiting.delete(data.id);
    if ('error' in data) entry?.failed(new Error(data.error));
    else entry?.done(data.tree);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    for (const entry of waiting.values()) entry.failed(new Error('the worker that reads large reports could not be started'));
    waiting.clear();
    worker = null;
  };
  return worker;
}

/** Decodes a FLAMEGRAPH_ARROW report, whose bytes are given away; null where it has no nodes. */
export async function flameOf(bytes: Uint8Array, pool: SymbolPool, compares: boolean): Promise<FlameTree | null> {
  if (bytes.byteLength <= AT_ONCE_BYTES) return decodeFlame(bytes, pool, compares);
  const id = ++last;
  const sent = await new Promise<SentTree | null>((done, failed) => {
    waiting.set(id, { done, failed });
    const request: DecodeRequest = { id, bytes, compares };
    started().postMessage(request, [bytes.buffer as ArrayBuffer]);
  });
  return sent && adopt(sent, pool);
}
