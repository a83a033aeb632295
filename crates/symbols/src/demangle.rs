//! Here is the name of a function in an object file, gives you the one that its author wrote.
//!
//! C++ (Itanium), Rust (both manglings) and what Go needs, which is little. Swift's names stay as they are: those
//! who demangle them compile Swift's own C++.

use std::fmt::{self, Write as _};

use cpp_demangle::{DemangleOptions, ParseOptions};

/// Longest mangled name that is looked at.
const MANGLED_MAX: usize = 64 << 10;
/// Longest name that is made: substitutions let a short mangled name mean an endless one.
const DEMANGLED_MAX: usize = 64 << 10;
/// Nesting of a mangled name. Each level is a stack frame of the demangler.
const RECURSION_MAX: u32 = 192;

/// How much of a name to show, in Parca's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Neither parameters nor template arguments: `ns::f`.
    #[default]
    Simple,
    /// No parameters: `ns::f<int>`.
    Templates,
    /// Everything: `void ns::f<int>(int)`.
    Full,
    /// As it is in the file: `_ZN2ns1fIiEEvT_`.
    None,
}

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown demangle mode {text:?}; there are simple, full, none and templates")]
pub struct UnknownMode {
    /// What it was.
    pub text: String,
}

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        Ok(match text {
            "simple" => Self::Simple,
            "templates" => Self::Templates,
            "full" => Self::Full,
            "none" => Self::None,
            _ => return Err(UnknownMode { text: text.to_owned() }),
        })
    }
}

/// Demangles a name; `None` if it is not mangled, cannot be read, or the mode leaves it alone.
pub fn demangle(name: &str, mode: Mode) -> Option<String> {
    if mode == Mode::None || name.len() > MANGLED_MAX {
        return None;
    }
    rust(name, mode).or_else(|| cpp(name, mode))
}

/// The name of a Go function as Go's line table has it, from DWARF's: without the types it was instantiated for.
pub(crate) fn go(name: &str) -> String {
    let Some(start) = name.find('[') else { return name.to_owned() };
    match name.rfind(']') {
        Some(end) if end > start => format!("{}[...]{}", &name[..start], &name[end + 1..]),
        _ => name.to_owned(),
    }
}

fn rust(name: &str, mode: Mode) -> Option<String> {
    let demangled = rustc_demangle::try_demangle(name).ok()?;
    let mut text = Bounded::default();
    // The alternate form has no hash.
    write!(text, "{demangled:#}").ok()?;
    Some(match mode {
        Mode::Simple => without_turbofish(&text.0),
        _ => text.0,
    })
}

fn cpp(name: &str, mode: Mode) -> Option<String> {
    // What a compiler split off or cloned: `_ZN…E.cold`, `_ZN…E.isra.0`.
    let start = name.find("_Z").filter(|&at| name[..at].bytes().all(|byte| byte == b'_'))?;
    let name = &name[start..];
    let symbol = name.split_once('.').map_or(name, |(symbol, _)| symbol);
    let options = ParseOptions::default().recursion_limit(RECURSION_MAX);
    let parsed = cpp_demangle::Symbol::new_with_options(symbol, &options).ok()?;
    let mut options = DemangleOptions::new().recursion_limit(RECURSION_MAX);
    if mode != Mode::Full {
        options = options.no_params().no_return_type();
    }
    let mut text = Bounded::default();
    parsed.structured_demangle(&mut text, &options).ok()?;
    Some(match mode {
        Mode::Simple => without_template_arguments(&text.0),
        _ => text.0,
    })
}

/// Text that ends with an error rather than without bound.
#[derive(Default)]
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > DEMANGLED_MAX {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Leaves out what is between angle brackets, except in the names of operators.
fn without_template_arguments(name: &str) -> String {
    let mut kept = String::with_capacity(name.len());
    let mut depth = 0usize;
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        let operator = operator_at(name, name.len() - rest.len());
        if operator > 0 {
            if depth == 0 {
                kept.push_str(&rest[..operator]);
            }
            rest = &rest[operator..];
            continue;
        }
        match c {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => kept.push(c),
            _ => {}
        }
        rest = &rest[c.len_utf8()..];
    }
    // `operator<< <int>` has a space before what went.
    kept.truncate(kept.trim_end().len());
    kept
}

/// Length of the operator at `at` whose name has angle brackets, with the word before it; 0 if there is none.
fn operator_at(name: &str, at: usize) -> usize {
    const WORD: &str = "operator";
    // Longest first.
    const OPERATORS: [&str; 11] = ["<<=", ">>=", "<=>", "->*", "<<", ">>", "<=", ">=", "->", "<", ">"];
    let whole_word = !name[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let Some(rest) = name[at..].strip_prefix(WORD).filter(|_| whole_word) else { return 0 };
    OPERATORS
        .iter()
        .find(|operator| rest.starts_with(**operator))
        .map_or(0, |operator| WORD.len() + operator.len())
}

/// Leaves out `::<…>`, the generic arguments of a path, but not `<T as Trait>`, without which the path means nothing.
fn without_turbofish(name: &str) -> String {
    let mut kept = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find("::<") {
        kept.push_str(&rest[..at]);
        let inside = &rest[at + 3..];
        let mut depth = 1usize;
        let mut before = ' ';
        let end = inside.char_indices().find_map(|(offset, c)| {
            match c {
                '<' => depth += 1,
                // The arrow of a function's type closes nothing.
                '>' if before != '-' => depth -= 1,
                _ => {}
            }
            before = c;
            (depth == 0).then_some(offset + 1)
        });
        rest = end.map_or("", |end| &inside[end..]);
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, mode: Mode, expected: &str) {
        assert_eq!(demangle(name, mode).as_deref().unwrap_or(name), expected, "{name} {mode:?}");
    }

    #[test]
    fn cpp_names() {
        check("main", Mode::Full, "main");
        check("_ZN2ns1fIiEEvT_", Mode::None, "_ZN2ns1fIiEEvT_");
        check("_ZN2ns1fIiEEvT_", Mode::Full, "void ns::f<int>(int)");
        check("_ZN2ns1fIiEEvT_", Mode::Templates, "ns::f<int>");
        check("_ZN2ns1fIiEEvT_", Mode::Simple, "ns::f");
        check("_ZNSt6vectorIiSaIiEE9push_backEOi", Mode::Simple, "std::vector::push_back");
        check("_ZN3FooltERKS_", Mode::Simple, "Foo::operator<");
        check("_ZN3FoolsEi", Mode::Simple, "Foo::operator<<");
        check("_ZN3FooptEv", Mode::Simple, "Foo::operator->");
        check("_ZlsIiEvR3FooT_", Mode::Simple, "operator<<");
        check("_ZN2ns1fIiEEvT_.cold", Mode::Simple, "ns::f");
        check("_ZN12_GLOBAL__N_13fooEv", Mode::Simple, "(anonymous namespace)::foo");
        check("_ZNK3Foo3barEv", Mode::Simple, "Foo::bar");
        check("_Z", Mode::Simple, "_Z");
        check("_ZN", Mode::Simple, "_ZN");
    }

    #[test]
    fn rust_names() {
        check("_ZN4core3fmt5write17h0123456789abcdefE", Mode::Simple, "core::fmt::write");
        check("_ZN4core3fmt5write17h0123456789abcdefE", Mode::Full, "core::fmt::write");
        check("_RNvCs1234_7mycrate3foo", Mode::Simple, "mycrate::foo");
        check("_RINvNtC3std3mem8align_ofdE", Mode::Full, "std::mem::align_of::<f64>");
        check("_RINvNtC3std3mem8align_ofdE", Mode::Simple, "std::mem::align_of");
    }

    #[test]
    fn turbofish() {
        let check = |name: &str, expected: &str| assert_eq!(without_turbofish(name), expected);
        check("<alloc::vec::Vec<T> as Drop>::drop", "<alloc::vec::Vec<T> as Drop>::drop");
        check("a::f::<Vec<u8>, fn(u8) -> u8>::{closure#0}", "a::f::{closure#0}");
        check("a::f::<", "a::f");
        check("a::f::<é>::g::<u8>", "a::f::g");
    }

    #[test]
    fn go_names() {
        let check = |name: &str, expected: &str| assert_eq!(go(name), expected);
        check("main.main", "main.main");
        check("main.Map[go.shape.int,go.shape.[]uint8]", "main.Map[...]");
        check("main.(*Tree[go.shape.string]).Insert", "main.(*Tree[...]).Insert");
        check("main.]odd[", "main.]odd[");
    }

    #[test]
    fn bounded() {
        // Each substitution doubles the text.
        let mut name = "_Z1fSt4pairIiiE".to_owned();
        for _ in 0..40 {
            name.push_str("St4pairIS_S_E");
        }
        let _ = demangle(&name, Mode::Full);
        let nested = format!("_Z1f{}i", "P".repeat(60_000));
        let _ = demangle(&nested, Mode::Full);
        assert_eq!(demangle(&format!("_ZN{}E", "1a".repeat(40_000)), Mode::Full), None);
    }
}
