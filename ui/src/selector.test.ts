import { expect, test } from 'vitest';
import { applyCompletion, completionAt, formatSelector, matcherProblem, matchersOf, parseSelector, withMatcher } from './selector';

test.each([
  ['process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta{job="api"}', 'process_cpu:cpu:nanoseconds:cpu:nanoseconds:delta', 'job="api"'],
  ['memory:inuse_space:bytes:space:bytes', 'memory:inuse_space:bytes:space:bytes', ''],
  ['memory:inuse_space:bytes:space:bytes{}', 'memory:inuse_space:bytes:space:bytes', ''],
  ['{__name__="a.b:cpu-time:ns:cpu:ns", job="x"}', 'a.b:cpu-time:ns:cpu:ns', 'job="x"'],
])('%s', (text, type, matchers) => {
  const parsed = parseSelector(text);
  expect(parsed).toEqual({ type, matchers });
  expect(parseSelector(formatSelector({ type, matchers }))).toEqual({ type, matchers });
});

test('without a type there is no selector', () => {
  expect(parseSelector('')).toBeNull();
  expect(parseSelector('{job="x"}')).toBeNull();
  expect(matchersOf('{job="x", pod=~"a.*"} ')).toBe('job="x", pod=~"a.*"');
  expect(matchersOf('job')).toBe('');
});

test('adding a matcher', () => {
  const label = { name: 'job', value: 'api' };
  expect(withMatcher('', label)).toBe('job="api"');
  expect(withMatcher('a="b", ', label)).toBe('a="b",job="api"');
  expect(withMatcher('job="api"', label)).toBe('job="api"');
});

/** `|` is the caret. */
const at = (text: string) => completionAt(text.replace('|', ''), text.indexOf('|'));

test.each([
  ['|', 'name', '', undefined],
  ['jo|', 'name', 'jo', undefined],
  ['job|', 'name', 'job', undefined],
  ['job |', 'operator', '', 'job'],
  ['job!|', 'operator', '!', 'job'],
  ['job=|', 'value', '', 'job'],
  ['job=~"ap|', 'value', 'ap', 'job'],
  ['job="api",re|', 'name', 're', undefined],
  ['job="a,b", region="e|u"', 'value', 'e', 'region'],
  ['job="api"|', 'operator', ' ', ''],
  ['job="a|pi", x="y"', 'value', 'a', 'job'],
])('completion at %s', (text, kind, typed, label) => {
  const found = at(text);
  expect(found.kind).toBe(kind);
  expect(found.typed).toBe(typed);
  if (label !== undefined) expect('label' in found && found.label).toBe(label);
});

test.each([
  ['jo|', 'job', 'job=|'],
  ['jo|="x"', 'job', 'job|="x"'],
  ['job |', '=~', 'job =~"|'],
  ['job=|', 'api', 'job="api"|'],
  ['job="a|', 'api', 'job="api"|'],
  ['job="a|x", b="c"', 'api', 'job="api"|, b="c"'],
])('taking a completion at %s', (text, choice, expected) => {
  const bare = text.replace('|', '');
  const done = applyCompletion(bare, completionAt(bare, text.indexOf('|')), choice);
  expect(`${done.text.slice(0, done.caret)}|${done.text.slice(done.caret)}`).toBe(expected);
});

test('completion never hangs or throws, whatever is typed', () => {
  for (const text of ['"', '"""', ',,,', 'a=', 'a="', 'a="b', '=', '!!', 'a="b"c="d"', 'a b c', '{}', 'ä="ö"', 'a=~b,c']) {
    for (let caret = 0; caret <= text.length; caret++) expect(completionAt(text, caret)).toHaveProperty('kind');
  }
});

test.each([
  ['', null],
  ['job="api"', null],
  ['job="api", x!~"y.*",', null],
  ['job', /operator/],
  ['job=', /value/],
  ['job=api', /value/],
  ['job="a" x="b"', /comma/],
  ['9x="a"', /label name/],
])('what is wrong with %s', (text, expected) => {
  const problem = matcherProblem(text);
  if (expected === null) expect(problem).toBeNull();
  else expect(problem).toMatch(expected);
});
