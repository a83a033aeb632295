/**
 * Reading function names: what part of a name is its package, and what remains of a long name
 * when only a few characters fit. Works on the spellings of Go, Rust, C++, Java and Python
 * without being told which it is.
 */

/** The outermost package, crate or namespace of a name; empty where the name has none. */
export function packageOf(name: string): string {
  if (name.startsWith('0x')) return '';
  let text = name;
  // Rust: `<alloc::vec::Vec<T> as core::ops::Drop>::drop` belongs to alloc.
  while (text.startsWith('<') || text.startsWith('&') || text.startsWith('_<')) text = text.slice(1);
  if (text.startsWith('dyn ') || text.startsWith('impl ')) text = text.slice(text.indexOf(' ') + 1);
  const colons = text.indexOf('::');
  const bracket = firstOf(text, '(<[ ');
  if (colons > 0 && (bracket < 0 || colons < bracket)) return text.slice(0, colons).replace(/>+$/, '');
  // Go: everything up to the dot after the last slash, `net/http.(*conn).serve` → net/http.
  const head = bracket < 0 ? text : text.slice(0, bracket);
  const slash = head.lastIndexOf('/');
  const dot = head.indexOf('.', slash + 1);
  return dot > 0 ? head.slice(0, dot) : '';
}

function firstOf(text: string, chars: string): number {
  for (let i = 0; i < text.length; i++) if (chars.includes(text[i])) return i;
  return -1;
}

/**
 * The telling end of a name: `net/http.(*conn).serve` → `(*conn).serve`,
 * `<alloc::vec::Vec<T,A> as Extend<T>>::extend` → `Vec::extend`.
 */
export function shortName(name: string): string {
  if (name.includes('::')) return shortScoped(name);
  const bracket = firstOf(name, '([');
  const head = bracket < 0 ? name : name.slice(0, bracket);
  const slash = head.lastIndexOf('/');
  const rest = name.slice(slash + 1);
  const dot = rest.indexOf('.');
  // A lone `main.run` stays as it is: its package is short and says much.
  return slash >= 0 && dot > 0 ? rest.slice(dot + 1) : rest;
}

function shortScoped(name: string): string {
  const segments = splitScopes(stripArguments(name));
  const last = segments[segments.length - 1] ?? name;
  // `{{closure}}` or a hash alone says nothing: keep going until a word is in.
  let from = segments.length - 1;
  while (from > 0 && /^(\{.*\}|h[0-9a-f]{16})$/.test(segments[from])) from--;
  if (from > 0) from--;
  const kept = segments.slice(from).map(bareSegment).filter((segment) => segment !== '');
  return kept.length > 0 ? kept.join('::') : last;
}

/** `<a::B<T> as c::D>` → `B`; `Vec<T>` → `Vec`. */
function bareSegment(segment: string): string {
  let text = segment;
  if (text.startsWith('<')) {
    const as = text.indexOf(' as ');
    text = as > 0 ? text.slice(1, as) : text.slice(1, -1);
    const scopes = splitScopes(text);
    text = scopes[scopes.length - 1] ?? text;
  }
  const generic = text.indexOf('<');
  return generic > 0 ? text.slice(0, generic) : text;
}

/** Splits at `::` outside of brackets. */
function splitScopes(name: string): string[] {
  const out: string[] = [];
  let depth = 0;
  let from = 0;
  for (let i = 0; i < name.length; i++) {
    const c = name[i];
    if (c === '<' || c === '(' || c === '[') depth++;
    else if ((c === '>' && name[i - 1] !== '-') || c === ')' || c === ']') depth--;
    else if (c === ':' && name[i + 1] === ':' && depth <= 0) {
      out.push(name.slice(from, i));
      i++;
      from = i + 1;
    }
  }
  out.push(name.slice(from));
  return out.filter((segment) => segment !== '');
}

/** Drops a C++ argument list at the end, but not Rust's `(*x)`-like or `{closure}` forms. */
function stripArguments(name: string): string {
  let depth = 0;
  for (let i = 0; i < name.length; i++) {
    const c = name[i];
    if (c === '<') depth++;
    else if (c === '>' && name[i - 1] !== '-') depth--;
    else if (c === '(' && depth === 0 && i > 0 && name[i - 1] !== ':') {
      return name.startsWith('(anonymous namespace)', i) ? name : name.slice(0, i);
    }
  }
  return name;
}

/** The function's own word: `(*conn).serve` → `serve`, `Vec::extend` → `extend`. */
export function lastName(short: string): string {
  if (short.startsWith('0x')) return short;
  let scope = short.lastIndexOf('::');
  // `{{closure}}` needs the word before it.
  while (scope > 0 && short.startsWith('::{', scope)) scope = short.lastIndexOf('::', scope - 1);
  const own = scope >= 0 ? short.slice(scope + 2) : short;
  if (own.includes('<') || own.includes(' ')) return own;
  const parts = own.split('.');
  // Go's closures are called func1, gowrap3 and 2.1: the word before them is the name.
  let from = parts.length - 1;
  while (from > 0 && /^(func\d+|gowrap\d+|\d+)$/.test(parts[from])) from--;
  const word = parts.slice(from).join('.');
  return word === '' ? own : word;
}

/** The file name of a path. */
export function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}
