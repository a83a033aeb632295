/** The matchers of the selector, typed with completion of label names, operators and values. */
import { useEffect, useRef, useState } from 'preact/hooks';
import { fetchLabelNames, fetchLabelValues } from '../api/reports';
import { applyCompletion, completionAt, matcherProblem, OPERATORS, type Completion } from '../selector';
import type { Side } from '../state/side';
import { Icon } from './Icon';

const MAX_SUGGESTIONS = 200;
const OPERATOR_WORDS: Record<string, string> = {
  '=': 'is', '!=': 'is not', '=~': 'matches the pattern', '!~': 'does not match the pattern',
};

/** Names and values as the server gave them, for the present type and range. */
function useCompletions(side: Side, at: Completion | null): { items: string[]; loading: boolean } {
  const [answer, setAnswer] = useState<{ key: string; items: string[] }>({ key: '', items: [] });
  const type = side.selector.value?.type ?? '';
  const span = side.range.value;
  const key = at === null || at.kind === 'operator' ? '' : `${at.kind} ${at.kind === 'value' ? at.label : ''} ${type} ${span.from}`;
  useEffect(() => {
    if (key === '' || at === null || at.kind === 'operator') return;
    const abort = new AbortController();
    const items = at.kind === 'name' ? fetchLabelNames(type, span, abort.signal) : fetchLabelValues(at.label, type, span, abort.signal);
    items.then(
      (found) => setAnswer({ key, items: found }),
      () => setAnswer({ key, items: [] }),
    );
    return () => abort.abort();
  }, [key]);
  if (at?.kind === 'operator') return { items: at.label === '' ? [] : [...OPERATORS], loading: false };
  return answer.key === key ? { items: answer.items, loading: false } : { items: [], loading: key !== '' };
}

/** Best first: what begins with the typed text, then what contains it. */
function rank(items: readonly string[], typed: string): string[] {
  const needle = typed.trim().toLowerCase();
  if (needle === '') return items.slice(0, MAX_SUGGESTIONS);
  const begins = items.filter((item) => item.toLowerCase().startsWith(needle));
  const contains = items.filter((item) => !item.toLowerCase().startsWith(needle) && item.toLowerCase().includes(needle));
  return [...begins, ...contains].slice(0, MAX_SUGGESTIONS);
}

export function MatcherInput({ side }: { side: Side }) {
  const committed = side.selector.value?.matchers ?? '';
  const [text, setText] = useState(committed);
  const [caret, setCaret] = useState(0);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const [problem, setProblem] = useState('');
  const input = useRef<HTMLInputElement>(null);
  const list = useRef<HTMLDivElement>(null);
  useEffect(() => {
    setText(committed);
    setProblem('');
  }, [committed]);
  useEffect(() => {
    list.current?.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' });
  }, [active]);

  const at = open ? completionAt(text, caret) : null;
  const { items, loading } = useCompletions(side, at);
  const shown = at ? rank(items, at.kind === 'operator' ? '' : at.typed) : [];
  const selected = Math.min(active, shown.length - 1);

  const follow = (): void => setCaret(input.current?.selectionStart ?? 0);
  const apply = (value = text): void => {
    const wrong = matcherProblem(value);
    setProblem(wrong ?? '');
    setOpen(false);
    if (wrong === null) side.applyMatchers(value);
  };
  const pick = (choice: string): void => {
    if (!at) return;
    const next = applyCompletion(text, at, choice);
    setText(next.text);
    setCaret(next.caret);
    setProblem('');
    setActive(-1);
    // The field's own caret can only be put once it holds the text.
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(next.caret, next.caret);
    });
  };

  return (
    <div class={`matchers ${problem ? 'invalid' : ''}`}>
      <span class="brace" aria-hidden="true">{'{'}</span>
      <input
        ref={input}
        type="text"
        spellcheck={false}
        autocomplete="off"
        role="combobox"
        aria-label="Matchers"
        aria-autocomplete="list"
        aria-expanded={open && shown.length > 0}
        aria-controls={`matcher-options-${side.id}`}
        aria-activedescendant={open && selected >= 0 ? `matcher-option-${side.id}-${selected}` : undefined}
        aria-invalid={problem !== ''}
        placeholder={'everything; narrow it with job="api", pod=~"web.*"'}
        value={text}
        onInput={(event) => {
          setText(event.currentTarget.value);
          setOpen(true);
          setActive(-1);
          setProblem('');
          follow();
        }}
        onFocus={() => {
          setOpen(true);
          follow();
        }}
        onClick={() => {
          setOpen(true);
          follow();
        }}
        onKeyUp={follow}
        onBlur={() => setTimeout(() => setOpen(false), 120)}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown' && shown.length > 0) {
            setOpen(true);
            setActive((selected + 1) % shown.length);
          } else if (event.key === 'ArrowUp' && shown.length > 0) setActive((selected - 1 + shown.length) % shown.length);
          else if (event.key === 'Tab' && open && shown.length > 0 && at && at.typed.trim() !== '') pick(shown[Math.max(0, selected)]);
          else if (event.key === 'Enter') {
            if (open && selected >= 0) pick(shown[selected]);
            else apply();
          } else if (event.key === 'Escape' && open) setOpen(false);
          else return;
          event.preventDefault();
        }}
      />
      {text !== '' && (
        <button type="button" class="plain" aria-label="Clear the matchers" onClick={() => { setText(''); apply(''); }}>
          <Icon name="close" />
        </button>
      )}
      <span class="brace" aria-hidden="true">{'}'}</span>
      {text !== committed && !problem && <kbd class="hint" aria-hidden="true">↵</kbd>}
      {open && at && (shown.length > 0 || loading) && (
        <div class="suggestions options" id={`matcher-options-${side.id}`} role="listbox" aria-label="Suggestions" ref={list}>
          {loading && <div class="option-none">Looking…</div>}
          {shown.map((item, i) => (
            <div
              key={item}
              id={`matcher-option-${side.id}-${i}`}
              role="option"
              aria-selected={i === selected}
              class="option line"
              onPointerDown={(event) => {
                event.preventDefault();
                pick(item);
              }}
            >
              <code>{item}</code>
              {at.kind === 'operator' && <span class="option-text">{OPERATOR_WORDS[item]}</span>}
            </div>
          ))}
        </div>
      )}
      {problem && <div class="field-problem" role="alert">{problem}</div>}
    </div>
  );
}
