//! `decima token`, and a tokens file that this makes.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::process::{run, stderr};

/// A tokens file.
pub(crate) struct TokensFile {
    pub(crate) path: PathBuf,
}

impl TokensFile {
    /// One with a token of each scope, which has its name.
    pub(crate) fn with_all_scopes(folder: &Path) -> (Self, [String; 3]) {
        let file = Self { path: folder.join("tokens.json") };
        let tokens = ["read", "write", "admin"].map(|scope| file.create(scope, scope));
        (file, tokens)
    }

    /// Flag for a store.
    pub(crate) fn flag(&self) -> String {
        format!("--auth-tokens-file={}", self.path.display())
    }

    pub(crate) fn create(&self, name: &str, scope: &str) -> String {
        let output = run(&["token", "create", "--file", self.text(), "--name", name, "--scope", scope]);
        assert!(output.status.success(), "{}", stderr(&output));
        let printed = String::from_utf8(output.stdout).unwrap();
        let token = printed.strip_suffix('\n').unwrap();
        assert!(!token.contains(char::is_whitespace), "alone on its line: {printed:?}");
        token.to_owned()
    }

    pub(crate) fn revoke(&self, name: &str) {
        let output = run(&["token", "revoke", "--file", self.text(), "--name", name]);
        assert!(output.status.success(), "{}", stderr(&output));
    }

    fn text(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

#[test]
fn are_made_listed_and_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let (file, [reader, writer, _]) = TokensFile::with_all_scopes(folder.path());
    assert_ne!(reader, writer);
    let mode = || std::fs::metadata(&file.path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    let text = std::fs::read_to_string(&file.path).unwrap();
    assert!(!text.contains(&reader), "only the hash is kept");

    // Whoever has the old file open keeps the old file.
    std::fs::set_permissions(&file.path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let old = std::fs::File::open(&file.path).unwrap();
    file.revoke("write");
    assert_eq!(mode(), 0o600);
    assert_eq!(std::io::read_to_string(old).unwrap(), text);

    let list = run(&["token", "list", "--file", file.text()]);
    let list = String::from_utf8(list.stdout).unwrap();
    let names: Vec<_> = list.lines().map(|line| line.split('\t').take(2).collect::<Vec<_>>()).collect();
    assert_eq!(names, [["read", "read"], ["admin", "admin"]]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");
}

#[test]
fn what_cannot_be_done_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (file, _) = TokensFile::with_all_scopes(folder.path());
    let check = |arguments: &[&str], code: i32, words: &[&str]| {
        let output = run(&[&["token"], arguments].concat());
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert_eq!(output.stdout, b"");
        for word in words {
            assert!(stderr(&output).contains(word), "{word} in {}", stderr(&output));
        }
    };
    let path = file.text();
    check(&["create", "--file", path, "--name", "read", "--scope", "admin"], 1, &["read", "revoke it first"]);
    check(&["create", "--file", path, "--name", "a b", "--scope", "admin"], 1, &["a b"]);
    check(
        &["create", "--file", path, "--name", "a", "--scope", "all"],
        2,
        &["--scope", "read, write and admin"],
    );
    check(&["create", "--file", path, "--name", "a"], 2, &["--scope"]);
    check(&["revoke", "--file", path, "--name", "other"], 1, &["other"]);
    check(&["list", "--file", "/no/such/file"], 1, &["/no/such/file"]);
    check(&["create", "--file", "/no/such/file", "--name", "a", "--scope", "read"], 1, &["/no/such"]);
    std::fs::write(&file.path, "{\"tokens\":\n[{\"name\":\"a\",\"scope\":\"all\",\"sha256\":\"\"}]}")
        .unwrap();
    check(&["list", "--file", path], 1, &[path, "line 2", "tokens[0].scope"]);
    check(&["create", "--file", path, "--name", "b", "--scope", "read"], 1, &["line 2"]);
}

/// Of several that change the file at once, none is lost.
#[test]
fn are_made_side_by_side() {
    let folder = tempfile::tempdir().unwrap();
    let file = TokensFile { path: folder.path().join("tokens.json") };
    std::thread::scope(|scope| {
        for index in 0..8 {
            let file = &file;
            scope.spawn(move || file.create(&format!("token-{index}"), "write"));
        }
    });
    let list = run(&["token", "list", "--file", file.text()]);
    assert_eq!(String::from_utf8(list.stdout).unwrap().lines().count(), 8);
}
