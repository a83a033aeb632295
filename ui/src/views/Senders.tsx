/** Who pushes, and what becomes of it. */
import { useState } from 'preact/hooks';
import { nameOf, type Health, type SenderRow } from '../intake';
import { ago } from '../time';
import { formatCount } from '../units';

const WORDS: Record<Health, string> = { good: 'sends', bad: 'refused', unknown: 'silent' };

const WHERE = 'Parca Agent, OpenTelemetry profilers and decima upload push to the address of this page.';

interface Props {
  rows: SenderRow[];
  total: number;
  searching: boolean;
  now: number;
}

/** Further ones are shown when asked for: what is scraped comes after them. */
const SHOWN = 10;

export function Senders({ rows, total, searching, now }: Props) {
  const [all, setAll] = useState(false);
  const troubled = rows.filter(({ health }) => health === 'bad').length;
  const shown = all || searching ? rows : rows.slice(0, Math.max(SHOWN, troubled));
  return (
    <section>
      <h2>Senders <span class="faint">{total}</span></h2>
      {rows.length === 0 && <p class="section-note">{searching && total > 0 ? 'No sender matches.' : `Nobody has pushed in the last day. ${WHERE}`}</p>}
      {rows.length > 0 && (
        <table class="senders">
          <thead>
            <tr>
              <th scope="col">State</th><th scope="col">Sender</th><th scope="col">Ways in</th><th scope="col">Requests</th>
              <th scope="col">Samples</th><th scope="col">Repaired</th><th scope="col">Refused</th><th scope="col">Last push</th>
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => <Row key={`${row.sender.node} ${row.sender.address}`} row={row} now={now} />)}
          </tbody>
        </table>
      )}
      {shown.length < rows.length && <button type="button" class="section-more" onClick={() => setAll(true)}>Show all {rows.length} senders</button>}
    </section>
  );
}

function Row({ row, now }: { row: SenderRow; now: number }) {
  const { sender, health, ways, accepted, samples, rejected, repaired, refused } = row;
  return (
    <tr>
      <td><span class={`health ${health}`}>{WORDS[health]}</span></td>
      <td>
        <code>{nameOf(sender)}</code>
        {sender.node && sender.address && <span class="faint"> {sender.address}</span>}
        {sender.lastError && <p class="target-error">{sender.lastError}</p>}
      </td>
      <td>{ways.join(', ')}</td>
      <td class="number">{formatCount(accepted)}</td>
      <td class="number">
        {formatCount(samples)}
        {rejected > 0 && <p class="faint" title="Left out because of their time">{formatCount(rejected)} left out</p>}
      </td>
      <td class="number" title="Strings that were not UTF-8">{formatCount(repaired)}</td>
      <td>
        {refused.length === 0 ? '0' : refused.map(([reason, requests]) => <p key={reason}>{formatCount(requests)} {reason.replaceAll('_', ' ')}</p>)}
      </td>
      <td class="number">{sender.lastPush ? ago(Date.parse(sender.lastPush), now) : 'never'}</td>
    </tr>
  );
}
