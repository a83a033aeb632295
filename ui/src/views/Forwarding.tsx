/** What a process shows that keeps no profiles: where they go, whether they arrive, and what waits. */
import { useEffect, useState } from 'preact/hooks';
import { fetchForwarding } from '../api/reports';
import type { ForwardingAnswer } from '../api/wire';
import type { Health } from '../intake';
import { ago } from '../time';
import { formatCount, formatValue } from '../units';

const REFRESH_MS = 2000;

const DROPPED: Record<string, string> = {
  age: 'waited for too long',
  spool_full: 'the spool was full',
  refused: 'refused by the store',
  damaged: 'damaged in the spool',
};

/** How the other store is, and that in words. */
function healthOf({ remoteGood }: ForwardingAnswer): [Health, string] {
  if (remoteGood === null) return ['unknown', 'nothing sent yet'];
  return remoteGood ? ['good', 'takes requests'] : ['bad', 'does not take requests'];
}

const requests = (count: number): string => `${formatCount(count)} ${count === 1 ? 'request' : 'requests'}`;
const objectFiles = (count: number): string => `${formatCount(count)} object ${count === 1 ? 'file' : 'files'}`;

/** What was lost, in words: how many, and why. */
const lost = (dropped: Record<string, number>, words: (count: number) => string): string[] =>
  Object.entries(dropped)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${words(count)}: ${DROPPED[reason] ?? reason}`);

export function Forwarding() {
  const [answer, setAnswer] = useState<ForwardingAnswer | null>(null);
  const [error, setError] = useState('');
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const load = (): void => {
      fetchForwarding(abort.signal)
        .then(
          (forwarding) => {
            setAnswer(forwarding);
            setError('');
          },
          (cause: unknown) => {
            if (!abort.signal.aborted) setError(cause instanceof Error ? cause.message : String(cause));
          },
        )
        .finally(() => {
          if (!abort.signal.aborted) timer = window.setTimeout(load, REFRESH_MS);
        });
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, []);
  return (
    <main class="nothing forwarding" aria-busy={answer === null}>
      <h1>Profiles go on to another store</h1>
      <p class="lead">This process forwards what it scrapes and what is sent to it, and keeps none of it. To look at profiles, ask that store.</p>
      {error && <p class="panel-error" role="alert">{error}</p>}
      {answer && <Facts answer={answer} />}
    </main>
  );
}

function Facts({ answer }: { answer: ForwardingAnswer }) {
  const [health, words] = healthOf(answer);
  const files = answer.objectFiles;
  const dropped = [...lost(answer.droppedRequests, requests), ...lost(files.dropped, objectFiles)];
  return (
    <dl>
      <dt>Store</dt>
      <dd><code>{answer.address}</code> <span class={`health ${health}`}>{words}</span></dd>
      <dt>Waiting</dt>
      <dd>
        {answer.spoolRequests === 0 ? 'nothing' : requests(answer.spoolRequests)}
        {answer.spoolRequests > 0 && answer.spoolOldestMs !== null && `, the oldest came ${ago(answer.spoolOldestMs, Date.now())}`}
        <span class="faint"> {formatValue(answer.spoolBytes, 'bytes')} of {formatValue(answer.spoolBytesMax, 'bytes')} on disk</span>
        {files.waiting > 0 && (
          <div>
            {objectFiles(files.waiting)}
            <span class="faint"> {formatValue(files.bytes, 'bytes')} of {formatValue(files.bytesMax, 'bytes')} on disk</span>
          </div>
        )}
      </dd>
      <dt>Arrived</dt>
      <dd>
        {requests(answer.forwardedRequests)}
        {files.forwarded > 0 && `, ${objectFiles(files.forwarded)}`} <span class="faint">since the start</span>
      </dd>
      <dt>Lost</dt>
      <dd>
        {dropped.length === 0 ? 'nothing' : dropped.map((words) => <div class="bad" key={words}>{words}</div>)}
      </dd>
    </dl>
  );
}
