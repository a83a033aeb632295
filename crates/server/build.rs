//! Makes a changed bundle of the page a reason to build again: its files are found when the crate is compiled.

fn main() {
    println!("cargo::rerun-if-changed=src/ui/bundle");
}
