/** Splitting the series graph by labels. */
import { useEffect, useState } from 'preact/hooks';
import { fetchLabelNames } from '../api/reports';
import type { Side } from '../state/side';
import { Icon } from './Icon';
import { Popover } from './Popover';

export function SumBy({ side }: { side: Side }) {
  if (!side.isDelta) return null;
  const chosen = side.state.value.sumBy;
  const label = (
    <span class="time-label">
      <span class="faint">by</span> {chosen.length === 0 ? 'total' : chosen.join(', ')}
      <Icon name="chevron" />
    </span>
  );
  return (
    <Popover label={label} name="Split the graph by label" align="right">
      {() => <LabelChoice side={side} />}
    </Popover>
  );
}

function LabelChoice({ side }: { side: Side }) {
  const [names, setNames] = useState<string[] | null>(null);
  const chosen = side.state.value.sumBy;
  useEffect(() => {
    const abort = new AbortController();
    fetchLabelNames(side.selector.peek()?.type ?? '', side.range.peek(), abort.signal).then(setNames, () => setNames([]));
    return () => abort.abort();
  }, []);
  const toggle = (name: string): void =>
    side.splitBy(chosen.includes(name) ? chosen.filter((other) => other !== name) : [...chosen, name]);
  return (
    <div class="checks options" role="group" aria-label="Labels">
      {names === null && <div class="option-none">Looking…</div>}
      {names?.length === 0 && <div class="option-none">These profiles have no labels.</div>}
      {names?.map((name) => (
        <label class="option line" key={name}>
          <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} />
          <code>{name}</code>
        </label>
      ))}
    </div>
  );
}
