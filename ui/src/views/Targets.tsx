/** Who sends, what the store scrapes, and how that goes. */
import { useEffect, useState } from 'preact/hooks';
import { fetchJobs, fetchSenders, fetchTargets } from '../api/reports';
import type { Discovery, JobsAnswer, SendersAnswer, Target, TargetsAnswer } from '../api/wire';
import { healthOf, jobRows, labelsOf, senderRows, type Health, type JobRow } from '../intake';
import { ago } from '../time';
import { formatCount } from '../units';
import { Icon } from './Icon';
import { Senders } from './Senders';

const REFRESH_MS = 5000;

const HEALTH_WORDS: Record<Health, string> = { good: 'up', bad: 'down', unknown: 'not scraped yet' };

/** `1.5s` of the wire; proto durations are decimal seconds. */
function duration(text: string | null): string {
  const seconds = parseFloat(text ?? '');
  if (!Number.isFinite(seconds)) return '';
  return seconds < 1 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`;
}

interface Answer {
  targets: TargetsAnswer;
  jobs: JobsAnswer;
  senders: SendersAnswer;
}

export function Targets() {
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [error, setError] = useState('');
  const [typed, setTyped] = useState('');
  const [time, setTime] = useState(Date.now());
  useEffect(() => {
    const abort = new AbortController();
    let timer = 0;
    const load = (): void => {
      Promise.all([fetchTargets(abort.signal), fetchJobs(abort.signal), fetchSenders(abort.signal)])
        .then(
          ([targets, jobs, senders]) => {
            setAnswer({ targets, jobs, senders });
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
  const jobs = answer ? jobRows(answer.targets.targets, answer.jobs.jobs, typed) : [];
  const senders = answer ? senderRows(answer.senders.senders, typed, time) : [];
  const all = jobs.flatMap(({ targets }) => targets);
  const down = all.filter((target) => healthOf(target) === 'bad').length;
  const refused = senders.filter(({ health }) => health === 'bad').length;
  return (
    <main class="targets">
      <header class="targets-head">
        <h1>Targets</h1>
        {answer && (
          <span class="faint">
            {all.length} scraped{down > 0 && <>, <b class="bad">{down} down</b></>}
            {' · '}
            {senders.length} {senders.length === 1 ? 'sender' : 'senders'}{refused > 0 && <>, <b class="bad">{refused} refused</b></>}
          </span>
        )}
        <div class="search">
          <Icon name="search" />
          <input type="text" placeholder="Find a target or sender" aria-label="Find a target or sender" value={typed} onInput={(event) => setTyped(event.currentTarget.value)} />
        </div>
      </header>
      {error && <p class="panel-error" role="alert">{error}</p>}
      {answer && <Senders rows={senders} total={Number(answer.senders.total)} searching={typed !== ''} now={time} />}
      {jobs.map((row) => <JobSection key={row.name} row={row} now={time} />)}
      {answer && jobs.length === 0 && (
        <section>
          <h2>Jobs <span class="faint">0</span></h2>
          <p class="section-note">{typed ? 'No target matches.' : 'This store scrapes nothing. Targets come from scrape_configs in the file given as --config-path.'}</p>
        </section>
      )}
    </main>
  );
}

function JobSection({ row: { name, job, targets }, now }: { row: JobRow; now: number }) {
  const dropped = Number(job?.dropped ?? 0);
  return (
    <section>
      <h2>
        {name} <span class="faint">{targets.length}{dropped > 0 && `, ${formatCount(dropped)} dropped by rules`}</span>
      </h2>
      {job?.error && <p class="section-note target-error">{job.error}</p>}
      {job && job.discoveries.length > 0 && (
        <ul class="discoveries">
          {job.discoveries.map((discovery, index) => <DiscoveryLine key={index} discovery={discovery} now={now} />)}
        </ul>
      )}
      {targets.length === 0 ? <p class="section-note">No targets.</p> : <TargetTable targets={targets} now={now} />}
    </section>
  );
}

function DiscoveryLine({ discovery, now }: { discovery: Discovery; now: number }) {
  const { kind, subject, lastError, lastSuccess } = discovery;
  const health: Health = lastError ? 'bad' : lastSuccess ? 'good' : 'unknown';
  const words: Record<Health, string> = { good: 'finds', bad: 'fails', unknown: 'looks' };
  return (
    <li>
      <span class={`health ${health}`}>{words[health]}</span> {kind} <code>{subject}</code>{' '}
      <span class="faint">
        {formatCount(Number(discovery.targets))} found{lastError && lastSuccess && `, all of them ${ago(Date.parse(lastSuccess), now)}`}
      </span>
      {lastError && <p class="target-error">{lastError}</p>}
    </li>
  );
}

function TargetTable({ targets, now }: { targets: Target[]; now: number }) {
  return (
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
              <td class="number">{target.lastScrape && Date.parse(target.lastScrape) > 0 ? ago(Date.parse(target.lastScrape), now) : 'never'}</td>
              <td class="number">{duration(target.lastScrapeDuration)}</td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
