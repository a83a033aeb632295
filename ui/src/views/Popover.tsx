/** A button with a panel below it. The panel closes on Escape, on a click elsewhere and when the focus leaves. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

interface Props {
  /** What the button shows. */
  label: ComponentChildren;
  /** What the button is, for screen readers; they read the label after it. */
  name: string;
  class?: string;
  align?: 'left' | 'right';
  /** The panel's content; `close` puts the focus back on the button. */
  children: (close: () => void) => ComponentChildren;
}

export function Popover({ label, name, class: className = '', align = 'left', children }: Props) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
    };
  }, [open]);
  return (
    <div
      class={`popover ${className}`}
      ref={root}
      onKeyDown={(event) => {
        if (open && event.key === 'Escape') {
          event.stopPropagation();
          close();
        }
      }}
    >
      <button type="button" ref={button} class="control" aria-haspopup="dialog" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span class="unseen">{name}: </span>
        {label}
      </button>
      {open && (
        <div class={`popover-panel ${align}`} role="dialog" aria-label={name}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
