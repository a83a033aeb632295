/**
 * Filters of stacks and frames, in Parca's address spelling: comma-joined
 * `s|f:fn|b|sn|f|a|ln:=|!=|~|!~|^|!^:value`, the value percent-encoded. The server applies them.
 */
import type { WireFilter } from '../api/wire';

export type FilterScope = 's' | 'f';
export type FilterField = 'fn' | 'b' | 'sn' | 'f' | 'a' | 'ln';
export type FilterTest = '=' | '!=' | '~' | '!~' | '^' | '!^';

export interface Filter {
  scope: FilterScope;
  field: FilterField;
  test: FilterTest;
  value: string;
}

const FIELD_WORDS: Record<FilterField, string> = {
  fn: 'function', b: 'binary', sn: 'system name', f: 'file', a: 'address', ln: 'line',
};
const TEST_WORDS: Record<FilterTest, string> = {
  '=': 'is', '!=': 'is not', '~': 'contains', '!~': 'does not contain', '^': 'starts with', '!^': 'does not start with',
};
const WIRE_FIELD: Record<FilterField, string> = {
  fn: 'functionName', b: 'binary', sn: 'systemName', f: 'filename', a: 'address', ln: 'lineNumber',
};
const WIRE_TEST: Record<FilterTest, string> = {
  '=': 'equal', '!=': 'notEqual', '~': 'contains', '!~': 'notContains', '^': 'startsWith', '!^': 'notStartsWith',
};

/** Reads `profile_filters`. Parts that are not known (presets) are left out. */
export function decodeFilters(text: string): Filter[] {
  const filters: Filter[] = [];
  for (const part of text.split(',')) {
    const match = /^([sf]):(fn|b|sn|f|a|ln):(!=|!~|!\^|=|~|\^):(.*)$/.exec(part);
    if (!match) continue;
    let value: string;
    try {
      value = decodeURIComponent(match[4]);
    } catch {
      continue;
    }
    filters.push({ scope: match[1] as FilterScope, field: match[2] as FilterField, test: match[3] as FilterTest, value });
  }
  return filters;
}

export const encodeFilters = (filters: readonly Filter[]): string =>
  filters.map(({ scope, field, test, value }) => `${scope}:${field}:${test}:${encodeURIComponent(value)}`).join(',');

/** The request's form of a filter. */
export function wireFilter({ scope, field, test, value }: Filter): WireFilter {
  const numeric = field === 'a' || field === 'ln';
  const condition = { [WIRE_TEST[test]]: numeric ? String(value) : value };
  const criteria = { criteria: { [WIRE_FIELD[field]]: condition } };
  return scope === 's' ? { stackFilter: criteria } : { frameFilter: criteria };
}

/** A filter in words: `stacks where function contains json`. */
export const filterText = ({ scope, field, test, value }: Filter): string =>
  `${scope === 's' ? 'stacks' : 'frames'}: ${FIELD_WORDS[field]} ${TEST_WORDS[test]} ${value}`;
