//! From the last name of a function, which is all that line tables keep, to one that tells where it is.
//!
//! `poll<tokio::net::TcpStream>` of `…/hyper-util-0.1.21/src/rt/tokio.rs` becomes `hyper_util::rt::tokio::poll`: the
//! path of a Rust file names crate and module, and generic arguments are left out, as they are in the names of the
//! symbol table beside which these stand.

/// The name for people of a function of a Rust file; of other files and paths that tell nothing, the name itself.
pub(super) fn qualified(name: &str, file: &str) -> String {
    match module(file) {
        Some(module) if !name.starts_with('<') && !name.contains("::{{") => {
            format!("{module}::{}", without_generics(name))
        }
        _ => name.to_owned(),
    }
}

fn without_generics(name: &str) -> &str {
    name.find('<').map_or(name, |start| &name[..start])
}

/// `tokio::runtime::blocking` for `/root/.cargo/registry/src/index/tokio-1.54.1/src/runtime/blocking/mod.rs`.
fn module(file: &str) -> Option<String> {
    let path = file.strip_suffix(".rs")?;
    let (package, inside) = path.rsplit_once("/src/")?;
    let mut folders = package.rsplit('/');
    let folder = folders.next().filter(|folder| !folder.is_empty())?;
    let mut module = match folders.next() {
        // Packages of this workspace are named for it and their folder.
        Some("crates") => format!("decima_{folder}"),
        _ => without_version(folder).to_owned(),
    };
    let parts = inside.split('/').filter(|part| !matches!(*part, "lib" | "main" | "mod"));
    for part in parts {
        module.push_str("::");
        module.push_str(part);
    }
    Some(module.replace('-', "_"))
}

/// `md-5` for `md-5-0.11.0`: a version has a dot after its first number.
fn without_version(folder: &str) -> &str {
    let is_version = |rest: &str| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        digits > 0 && rest[digits..].starts_with('.')
    };
    let dashes = folder.match_indices('-').map(|(at, _)| at);
    dashes.filter(|&at| is_version(&folder[at + 1..])).map(|at| &folder[..at]).next().unwrap_or(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, file: &str, expected: &str) {
        assert_eq!(qualified(name, file), expected);
    }

    #[test]
    fn names() {
        let registry = "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        check(
            "poll<decima_query::Report>",
            &format!("{registry}/tokio-1.54.1/src/runtime/blocking/mod.rs"),
            "tokio::runtime::blocking::poll",
        );
        check(
            "{closure#0}<()>",
            "/work/crates/query/src/report/table.rs",
            "decima_query::report::table::{closure#0}",
        );
        check("finalize", &format!("{registry}/md-5-0.11.0/src/lib.rs"), "md_5::finalize");
        check(
            "go",
            &format!("{registry}/zstd-sys-2.0.16+zstd.1.5.7/src/bindings_zstd.rs"),
            "zstd_sys::bindings_zstd::go",
        );
        check(
            "wrapping_mul",
            "/rustc/59807616/library/core/src/num/uint_macros.rs",
            "core::num::uint_macros::wrapping_mul",
        );
        check(
            "call_once",
            "/rustc/59807616/library/core/src/ops/function.rs",
            "core::ops::function::call_once",
        );
        check("ZSTD_compress", "/x/zstd/lib/compress/zstd_compress.c", "ZSTD_compress");
        check("f", "", "f");
        check("f", "build.rs", "f");
        check("<T as U>::f", "/x/a/src/b.rs", "<T as U>::f");
    }
}
