/** What stands in place of graphs that have nothing to show: how to send a profile, or where the data is. */
import { signal } from '@preact/signals';
import { useEffect, useState } from 'preact/hooks';
import { fetchHasData, fetchTypes, findNewest } from '../api/reports';
import { preferredType, typeKey } from '../profile-type';
import { formatSelector } from '../selector';
import { change, now, sideA, types } from '../state/store';
import { ago, moment, selectionText } from '../time';
import { Icon } from './Icon';

const JUMP_MS = 15 * 60_000;

const SCRAPE = `scrape_configs:
  - job_name: my-service
    static_configs:
      - targets: ['127.0.0.1:6060']   # serves /debug/pprof`;

function Snippet({ text }: { text: string }) {
  const [copied, setCopied] = useState(false);
  return (
    <div class="snippet">
      <pre><code>{text}</code></pre>
      <button
        type="button"
        class="plain"
        aria-label="Copy"
        onClick={() => {
          void navigator.clipboard?.writeText(text);
          setCopied(true);
          setTimeout(() => setCopied(false), 1500);
        }}
      >
        <Icon name={copied ? 'check' : 'copy'} />
      </button>
    </div>
  );
}

/** The store holds nothing at all: there is nothing to query. */
export const storeEmpty = signal(false);

/** Chooses between the two pages below; asks the server whether it has anything at all. What comes later, the page notices by itself. */
export function Nothing() {
  const [state, setState] = useState<'asking' | 'empty' | 'elsewhere'>('asking');
  const asked = types.state.value;
  useEffect(() => {
    const abort = new AbortController();
    fetchHasData(abort.signal).then(
      (has) => {
        storeEmpty.value = !has;
        setState(has ? 'elsewhere' : 'empty');
      },
      () => undefined,
    );
    return () => abort.abort();
  }, [asked]);
  useEffect(() => () => {
    storeEmpty.value = false;
  }, []);
  if (state === 'asking') return <main class="nothing" aria-busy="true" />;
  return state === 'empty' ? <FirstProfile /> : <Elsewhere />;
}

function FirstProfile() {
  const address = `${location.protocol}//${location.host}`;
  return (
    <main class="nothing first">
      <h1>No profiles yet</h1>
      <p class="lead">This page shows them as soon as the first one arrives. There are two ways in.</p>
      <section>
        <h2>Send a file</h2>
        <p>Any pprof file, compressed or not:</p>
        <Snippet text={'decima upload cpu.pb.gz --label service=x'} />
        <p class="faint">From another machine, add <code>--address {address}</code>.</p>
      </section>
      <section>
        <h2>Scrape a program</h2>
        <p>Anything that serves <code>/debug/pprof</code>. In a file given as <code>--config-path</code>:</p>
        <Snippet text={SCRAPE} />
        <p class="faint">Agents that speak Parca's protocol can be pointed at this address as they are.</p>
      </section>
      <p class="waiting" role="status"><span class="spinner" /> Waiting for the first profile…</p>
    </main>
  );
}

/** There is data, but not here: says when the newest was, and goes there. */
function Elsewhere() {
  const [newest, setNewest] = useState<number | null | undefined>(undefined);
  const [query, setQuery] = useState(sideA.state.peek().expression);
  useEffect(() => {
    const abort = new AbortController();
    const find = async (): Promise<void> => {
      let expression = sideA.state.peek().expression;
      if (expression === '') {
        const best = preferredType(await fetchTypes(null, abort.signal));
        if (best) expression = formatSelector({ type: typeKey(best), matchers: '' });
      }
      const time = expression === '' ? null : await findNewest(expression, Date.now(), abort.signal);
      if (abort.signal.aborted) return;
      setQuery(expression);
      setNewest(time);
    };
    find().catch(() => {
      if (!abort.signal.aborted) setNewest(null);
    });
    return () => abort.abort();
  }, [sideA.state.value.expression]);
  const others = (types.state.value.data?.length ?? 0) > 0;
  return (
    <main class="nothing">
      <h1>Nothing in this range</h1>
      <p class="lead">
        {sideA.state.value.expression === '' ? 'There are no profiles' : 'No profile matches'}{' '}
        {sideA.state.value.time.kind === 'relative' ? `in the ${selectionText(sideA.state.value.time, now.value).toLowerCase()}` : `in ${selectionText(sideA.state.value.time, now.value)}`}.
      </p>
      {newest === undefined && <p role="status"><span class="spinner" /> Looking for the newest data…</p>}
      {typeof newest === 'number' && (
        <p>
          Last data at <b>{moment(newest, Date.now())}</b>, {ago(newest, Date.now())}.{' '}
          <button
            type="button"
            class="primary"
            onClick={() => {
              now.value = Date.now();
              change({ a: { ...sideA.state.peek(), expression: query, time: { kind: 'absolute', from: newest + 60_000 - JUMP_MS, to: newest + 60_000 }, selection: null } });
            }}
          >
            Jump there
          </button>
        </p>
      )}
      {newest === null && (
        <p>{others ? 'No data was found for this selector at any time; other profile types have some.' : 'No data was found for this selector at any time.'}</p>
      )}
    </main>
  );
}
