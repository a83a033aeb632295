/** Choosing the profile type: known ones in words, all with their exact spelling; typing narrows the list. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { ProfileType } from '../api/wire';
import { compareTypes, describeType, parseTypeKey, TYPE_GROUPS, typeKey } from '../profile-type';
import type { Side } from '../state/side';
import { types } from '../state/store';
import { Icon } from './Icon';
import { Popover } from './Popover';

export function TypePicker({ side }: { side: Side }) {
  const key = side.selector.value?.type ?? '';
  const type = parseTypeKey(key);
  const text = type && describeType(type);
  const label = (
    <span class="type-label">
      <strong>{text?.title ?? (key || (types.state.value.loading ? 'Looking for profiles…' : 'Profile type'))}</strong>
      {type && <span class="type-name">{type.name}</span>}
      <Icon name="chevron" />
    </span>
  );
  return (
    <Popover label={label} name="Profile type" class="type-picker">
      {(close) => <TypeList side={side} current={key} close={close} />}
    </Popover>
  );
}

function TypeList({ side, current, close }: { side: Side; current: string; close: () => void }) {
  const [typed, setTyped] = useState('');
  const [active, setActive] = useState(-1);
  const list = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => input.current?.focus(), []);
  const all = types.state.value.data ?? [];
  const words = typed.toLowerCase().split(/\s+/);
  const found = [...all]
    .sort(compareTypes)
    .map((type) => ({ type, key: typeKey(type), ...describeType(type) }))
    .filter((entry) => words.every((word) => `${entry.title} ${entry.text} ${entry.key}`.toLowerCase().includes(word)));
  const ordered = TYPE_GROUPS.flatMap((group) => found.filter((entry) => entry.group === group));
  // Opens on the type in use.
  const at = active < 0 ? ordered.findIndex((entry) => entry.key === current) : Math.min(active, ordered.length - 1);
  const choose = (type: ProfileType): void => {
    side.chooseType(type);
    close();
  };
  useEffect(() => {
    list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' });
  }, [at]);
  return (
    <div class="type-list">
      <input
        ref={input}
        class="text-input"
        type="text"
        placeholder="Find a profile type"
        aria-label="Find a profile type"
        role="combobox"
        aria-expanded="true"
        aria-controls="type-options"
        aria-activedescendant={at >= 0 ? `type-option-${at}` : undefined}
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setActive(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') setActive(Math.min(at + 1, ordered.length - 1));
          else if (event.key === 'ArrowUp') setActive(Math.max(at - 1, 0));
          else if (event.key === 'Enter' && ordered[at]) choose(ordered[at].type);
          else return;
          event.preventDefault();
        }}
      />
      <div class="options" id="type-options" role="listbox" aria-label="Profile types" ref={list}>
        {ordered.map((entry, i) => (
          <>
            {(i === 0 || ordered[i - 1].group !== entry.group) && (
              <div class="option-group" role="presentation" key={entry.group}>
                {entry.group}
              </div>
            )}
            <div
              key={entry.key}
              id={`type-option-${i}`}
              role="option"
              aria-selected={i === at}
              class={`option ${entry.key === current ? 'current' : ''}`}
              onPointerMove={() => setActive(i)}
              onClick={() => choose(entry.type)}
            >
              <span class="option-title">
                {entry.title}
                {entry.key === current && <Icon name="check" />}
              </span>
              <span class="option-text">{entry.text}</span>
              <code class="option-code">{entry.key}</code>
            </div>
          </>
        ))}
        {ordered.length === 0 && <div class="option-none">{all.length === 0 ? 'No profiles in this time range.' : 'No type matches.'}</div>}
      </div>
    </div>
  );
}
