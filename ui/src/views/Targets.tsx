/** What the store scrapes, and how that goes. */
import { useEffect, useState } from 'preact/hooks';
import { fetchTargets } from '../api/reports';
import type { Target, TargetsAnswer } from '../api/wire';
import { ago } from '../time';
import { Icon } from './Icon';

const REFRESH_MS = 5000;

type Health = 'good' | 'bad' | 'unknown';

function healthOf(target: Target): Health {
  const text = target.health.toUpperCase();
  if (text.includes('GOOD') || text === 'UP') return 'good';
  return text.includes('BAD') || text === 'DOWN' ? 'bad' : 'unknown';
}

const HEALTH_WORDS: Record<Health, string> = { good: 'up', bad: 'down', unknown: 'not scraped yet' };

/** What is down is what one comes to see. */
const URGENCY: Record<Health, number> = { bad: 0, unknown: 1, good: 1 };

/** `1.5s` of the wire; proto durations are decimal seconds. */
function duration(text: string | null): string {
  const seconds = parseFloat(text ?? '');
  if (!Number.isFinite(seconds)) return '';
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

export function Targets() {
  const [answer, setAnswer] = useState<TargetsAnswer | null>(null);
  const [error, setError] = useState('');
  const [typed, setTyped] = useState('');
  const [time, setTime] = useState(Date.now());
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const load = (): void => {
      fetchTargets(abort.signal)
        .then(
          (found) => {
            setAnswer(found);
            setError('');
          },
          (cause: unknown) => {
            if (!abort.signal.aborted) setError(cause instanceof Error ? cause.message : String(cause));
          },
        )
        .finally(() => {
          setTime(Date.now());
          if (!abort.signal.aborted) timer = window.setTimeout(load, REFRESH_MS);
        });
    };
    load();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, []);
  const needle = typed.toLowerCase();
  const jobs = Object.entries(answer?.targets ?? {})
    .map(([job, { targets }]) => ({
      job,
      targets: (targets ?? []).filter((target) => `${job} ${target.url} ${target.lastError} ${labelsOf(target)}`.toLowerCase().includes(needle)),
    }))
    .filter(({ targets }) => targets.length > 0)
    .map(({ job, targets }) => ({ job, targets: [...targets].sort((a, b) => URGENCY[healthOf(a)] - URGENCY[healthOf(b)] || (a.url < b.url ? -1 : 1)) }))
    .sort((a, b) => URGENCY[healthOf(a.targets[0])] - URGENCY[healthOf(b.targets[0])] || (a.job < b.job ? -1 : 1));
  const all = jobs.flatMap(({ targets }) => targets);
  const down = all.filter((target) => healthOf(target) === 'bad').length;
  return (
    <main class="targets">
      <header class="targets-head">
        <h1>Targets</h1>
        {answer && (
          <span class="faint">
            {all.length} scraped{down > 0 && <>, <b class="bad">{down} down</b></>}
          </span>
        )}
        <div class="search">
          <Icon name="search" />
          <input type="text" placeholder="Find a target" aria-label="Find a target" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        </div>
      </header>
      {error && <p class="panel-error" role="alert">{error}</p>}
      {answer && all.length === 0 && !error && (
        <p class="panel-note">{typed ? 'No target matches.' : 'This store scrapes nothing. Targets come from scrape_configs in the file given as --config-path.'}</p>
      )}
      {jobs.map(({ job, targets }) => (
        <section key={job}>
          <h2>{job} <span class="faint">{targets.length}</span></h2>
          <table>
            <thead>
              <tr><th scope="col">State</th><th scope="col">Address</th><th scope="col">Labels</th><th scope="col">Last scrape</th><th scope="col">Took</th></tr>
            </thead>
            <tbody>
              {targets.map((target) => {
                const health = healthOf(target);
                return (
                  <tr key={target.url + labelsOf(target)}>
                    <td><span class={`health ${health}`}>{HEALTH_WORDS[health]}</span></td>
                    <td>
                      <code>{target.url}</code>
                      {target.lastError && <p class="target-error">{target.lastError}</p>}
                    </td>
                    <td>
                      <div class="target-labels">
                        {target.labels?.labels.map(({ name, value }) => <code class="label" key={name}>{name}=<b>{value}</b></code>)}
                      </div>
                    </td>
                    <td class="number">{target.lastScrape && Date.parse(target.lastScrape) > 0 ? ago(Date.parse(target.lastScrape), time) : 'never'}</td>
                    <td class="number">{duration(target.lastScrapeDuration)}</td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </section>
      ))}
    </main>
  );
}

const labelsOf = (target: Target): string => (target.labels?.labels ?? []).map(({ name, value }) => `${name}=${value}`).join(' ');
