/** Choosing the time range: a preset that ends now, or two moments. */
import { useState } from 'preact/hooks';
import type { Side } from '../state/side';
import { now } from '../state/store';
import { encodeTime, fromField, PRESETS, selectionText, toField } from '../time';
import { Icon } from './Icon';
import { Popover } from './Popover';

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;

export function TimePicker({ side }: { side: Side }) {
  const text = selectionText(side.state.value.time, now.value);
  const label = (
    <span class="time-label">
      <Icon name="clock" />
      {text}
      <Icon name="chevron" />
    </span>
  );
  return (
    <Popover label={label} name="Time range" class="time-picker" align="right">
      {(close) => <TimePanel side={side} close={close} />}
    </Popover>
  );
}

function TimePanel({ side, close }: { side: Side; close: () => void }) {
  const [from, setFrom] = useState(toField(side.range.value.from));
  const [to, setTo] = useState(toField(side.range.value.to));
  const valid = fromField(from) < fromField(to);
  const current = encodeTime(side.state.value.time);
  return (
    <div class="time-panel">
      <div class="presets" role="group" aria-label="Ending now">
        {PRESETS.map((preset) => (
          <button
            type="button"
            key={encodeTime(preset)}
            class={`preset ${encodeTime(preset) === current ? 'current' : ''}`}
            onClick={() => {
              side.chooseTime(preset);
              close();
            }}
          >
            {selectionText(preset, 0)}
          </button>
        ))}
      </div>
      <form
        class="absolute"
        onSubmit={(event) => {
          event.preventDefault();
          if (!valid) return;
          side.chooseTime({ kind: 'absolute', from: fromField(from), to: fromField(to) });
          close();
        }}
      >
        <label>
          From
          <input class="text-input" type="datetime-local" step="1" value={from} onInput={(event) => setFrom(event.currentTarget.value)} />
        </label>
        <label>
          To
          <input class="text-input" type="datetime-local" step="1" value={to} onInput={(event) => setTo(event.currentTarget.value)} />
        </label>
        {!valid && <p class="field-note bad">The end must be after the beginning.</p>}
        <button type="submit" class="primary" disabled={!valid}>Show this range</button>
        <p class="field-note">Times are in {zone}.</p>
      </form>
    </div>
  );
}
