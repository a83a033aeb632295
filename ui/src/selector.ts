/**
 * Selectors as text: `process_cpu:…:delta{job="api",pod=~"web.*"}`. The page only takes them
 * apart to edit the matchers and to complete what is being typed; the server is the judge.
 */
import type { Label } from './api/wire';

export interface Selector {
  /** The type's spelling. */
  type: string;
  /** What stands between the braces, without a `__name__`. */
  matchers: string;
}

const BARE_NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const NAME_MATCHER = /^\s*__name__\s*=\s*"([^"]*)"\s*,?/;

/** Takes a selector apart; null where it has no type. */
export function parseSelector(text: string): Selector | null {
  const brace = text.indexOf('{');
  const head = (brace < 0 ? text : text.slice(0, brace)).trim();
  let body = brace < 0 ? '' : text.slice(brace + 1).replace(/\}\s*$/, '');
  if (head !== '') return { type: head, matchers: body.trim() };
  const name = NAME_MATCHER.exec(body);
  if (!name) return null;
  body = body.slice(name[0].length);
  return { type: name[1], matchers: body.trim() };
}

/** What stands between the braces of a selector without a type, as people write links by hand. */
export function matchersOf(text: string): string {
  const brace = text.indexOf('{');
  return brace < 0 ? '' : text.slice(brace + 1).replace(/\}\s*$/, '').trim();
}

/** Puts a selector together. Types with unusual characters need the quoted form. */
export function formatSelector({ type, matchers }: Selector): string {
  const body = matchers.trim().replace(/,\s*$/, '');
  if (BARE_NAME.test(type)) return `${type}{${body}}`;
  return `{__name__="${type}"${body ? `,${body}` : ''}}`;
}

/** Adds `name="value"` unless it is there. */
export function withMatcher(matchers: string, label: Label, operator: '=' | '!=' = '='): string {
  const added = `${label.name}${operator}"${label.value}"`;
  const body = matchers.trim().replace(/,\s*$/, '');
  if (body.split(',').some((part) => part.trim() === added)) return body;
  return body === '' ? added : `${body},${added}`;
}

export const OPERATORS = ['=', '!=', '=~', '!~'] as const;

export type Completion =
  /** A label's name is being typed at `from .. to`. */
  | { kind: 'name'; from: number; to: number; typed: string }
  | { kind: 'operator'; from: number; to: number; typed: string; label: string }
  /** A value is being typed; `quoted` where its first quote is there. */
  | { kind: 'value'; from: number; to: number; typed: string; label: string; quoted: boolean; closed: boolean };

const NAME_CHAR = /[a-zA-Z0-9_.]/;

/** What is being typed at `caret`: the scan starts anew at each matcher, so unfinished text before it is no obstacle. */
export function completionAt(text: string, caret: number): Completion {
  let at = 0;
  for (;;) {
    while (at < caret && (text[at] === ' ' || text[at] === ',')) at++;
    const nameFrom = at;
    while (at < text.length && NAME_CHAR.test(text[at])) at++;
    if (at >= caret) return { kind: 'name', from: nameFrom, to: at, typed: text.slice(nameFrom, caret) };
    const label = text.slice(nameFrom, at);
    while (at < caret && text[at] === ' ') at++;
    const operatorFrom = at;
    while (at < text.length && '=!~'.includes(text[at])) at++;
    const operator = text.slice(operatorFrom, at);
    if (operator === '' || (at >= caret && !isOperator(operator))) {
      return { kind: 'operator', from: operatorFrom, to: at, typed: text.slice(operatorFrom, caret), label };
    }
    while (at < caret && text[at] === ' ') at++;
    const quoted = text[at] === '"';
    const valueFrom = quoted ? at + 1 : at;
    at = valueFrom;
    if (quoted) while (at < text.length && text[at] !== '"') at++;
    else while (at < text.length && text[at] !== ',' && text[at] !== ' ') at++;
    const closed = quoted && text[at] === '"';
    if (caret <= at) {
      return { kind: 'value', from: valueFrom, to: at, typed: text.slice(valueFrom, caret), label, quoted, closed };
    }
    if (closed) at++;
    if (at >= caret) {
      // Just behind the closing quote: nothing to complete until a comma.
      return { kind: 'operator', from: caret, to: caret, typed: ' ', label: '' };
    }
    while (at < caret && text[at] !== ',') at++;
  }
}

const isOperator = (text: string): boolean => (OPERATORS as readonly string[]).includes(text);

/** `text` with the completion replaced by `choice`, and where the caret belongs then. */
export function applyCompletion(text: string, at: Completion, choice: string): { text: string; caret: number } {
  const before = text.slice(0, at.from);
  let after = text.slice(at.to);
  let inserted = choice;
  if (at.kind === 'name') {
    if (!/^\s*[=!]/.test(after)) inserted += '=';
  } else if (at.kind === 'operator') {
    if (!after.startsWith('"')) inserted += '"';
  } else {
    inserted = `${at.quoted ? '' : '"'}${choice}"`;
    if (at.closed) after = after.slice(1);
  }
  return { text: before + inserted + after, caret: before.length + inserted.length };
}

/** Says what is wrong with matchers, or null. Only what the server would refuse for certain. */
export function matcherProblem(text: string): string | null {
  let rest = text.trim();
  while (rest !== '') {
    const match = /^([a-zA-Z_][a-zA-Z0-9_.]*)\s*(=~|!~|!=|=)?\s*("[^"]*")?\s*/.exec(rest);
    if (!match) return `“${rest.slice(0, 20)}” is not a label name`;
    const [all, name, operator, value] = match;
    if (!operator) return `after ${name} an operator is missing: = != =~ !~`;
    if (!value) return `after ${name}${operator} a value in quotes is missing`;
    rest = rest.slice(all.length);
    if (rest === '') break;
    if (!rest.startsWith(',')) return `before “${rest.slice(0, 20)}” a comma is missing`;
    rest = rest.slice(1).trim();
  }
  return null;
}
