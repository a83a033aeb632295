/** Something that is fetched: what is there, whether more is on its way, and what went wrong. */
import { signal, type Signal } from '@preact/signals';
import { ApiError, isAbort } from '../api/fetch';

export interface Resource<T> {
  /** The last answer; stays while the next one is loading. */
  data: T | null;
  /** The request that `data` answers. */
  key: string;
  loading: boolean;
  /** A sentence, where the last request failed. */
  error: string;
  /** The last request failed for a reason that may pass: no answer, or a failure of the server's own. */
  mayRecover: boolean;
}

/** A resource that is loaded by key: a newer key aborts the older request. */
export class Loader<T> {
  readonly state: Signal<Resource<T>> = signal({ data: null, key: '', loading: false, error: '', mayRecover: false });
  private abort: AbortController | null = null;
  private wanted = '';
  /** Counts requests, so that what belongs to one answer can be told from what belongs to the next. */
  generation = 0;

  constructor(private readonly fetch: (key: string, signal: AbortSignal) => Promise<T>) {}

  /** Loads `key`; nothing to do where it is loaded or on its way, unless `again`. */
  load(key: string, again = false): void {
    if (key === this.wanted && !again) return;
    this.wanted = key;
    this.generation++;
    this.abort?.abort();
    const abort = new AbortController();
    this.abort = abort;
    this.state.value = { ...this.state.peek(), loading: true, error: '', mayRecover: false };
    this.fetch(key, abort.signal).then(
      (data) => {
        if (this.abort === abort) this.state.value = { data, key, loading: false, error: '', mayRecover: false };
      },
      (cause: unknown) => {
        if (this.abort !== abort || isAbort(cause)) return;
        const error = cause instanceof Error ? cause.message : String(cause);
        const mayRecover = cause instanceof ApiError && (cause.status === 0 || cause.status >= 500 || cause.status === 429);
        this.state.value = { data: null, key, loading: false, error, mayRecover };
      },
    );
  }

  /** Puts another answer in place of the one for the same key. */
  replace(key: string, data: T): void {
    if (this.state.peek().key === key) this.state.value = { ...this.state.peek(), data };
  }

  /** Forgets everything, also a request on its way. */
  clear(): void {
    this.abort?.abort();
    this.abort = null;
    this.wanted = '';
    this.state.value = { data: null, key: '', loading: false, error: '', mayRecover: false };
  }
}
