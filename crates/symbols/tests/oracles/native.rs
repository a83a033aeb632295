//! C, C++ and Rust against `addr2line -i` and `llvm-symbolizer`.

use std::{path::Path, process::Command, sync::Arc};

use decima_symbols::{Companions, ObjectBytes, ObjectFiles, Options, Symbolizer, elf::Elf};

use crate::{
    Outcome, Test,
    tools::{self, Chains, Frame, have, run, source, whole},
};

/// Addresses asked for in one file.
const ADDRESSES: u64 = 3000;

/// What is done to a program after it was compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treatment {
    None,
    /// No DWARF: names only.
    StripDebug,
    /// Only the names of what others may call.
    StripAll,
    /// Debug information in a file of its own.
    DebugLink,
    /// Compressed sections.
    Compress(&'static str),
    /// Split DWARF in files beside the program.
    Split,
    /// Split DWARF in a package.
    Package,
    /// Shared parts in another file.
    Dwz,
    /// As an agent uploads it.
    Extracted,
    /// As an agent uploads what was stripped of DWARF.
    ExtractedStripped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    C,
    Cpp,
    Rust,
}

struct Case {
    language: Language,
    level: &'static str,
    dwarf: &'static str,
    pie: bool,
    treatment: Treatment,
}

impl Case {
    fn name(&self) -> String {
        let pie = if self.pie { "pie" } else { "no-pie" };
        format!("{:?} O{} DWARF {} {pie} {:?}", self.language, self.level, self.dwarf, self.treatment)
    }
}

pub(crate) fn tests() -> Vec<Test> {
    let mut cases = Vec::new();
    let mut add = |language, level, dwarf, pie, treatment| {
        cases.push(Case { language, level, dwarf, pie, treatment });
    };
    for level in ["0", "2"] {
        for dwarf in ["4", "5"] {
            for pie in [true, false] {
                add(Language::C, level, dwarf, pie, Treatment::None);
            }
            add(Language::C, level, dwarf, true, Treatment::Split);
            add(Language::Cpp, level, dwarf, level == "2", Treatment::None);
            add(Language::Rust, level, dwarf, true, Treatment::None);
            add(Language::Rust, level, dwarf, true, Treatment::Package);
        }
        // GNU's `dwp` packs DWARF 5 in its latest versions only; rustc packs it by itself.
        add(Language::C, level, "4", true, Treatment::Package);
        add(Language::C, level, "5", true, Treatment::StripDebug);
        add(Language::C, level, "5", level == "0", Treatment::StripAll);
        add(Language::C, level, "5", true, Treatment::DebugLink);
        add(Language::Cpp, level, "5", true, Treatment::StripDebug);
        add(Language::C, level, "5", true, Treatment::ExtractedStripped);
        add(Language::Cpp, level, "5", true, Treatment::Extracted);
    }
    add(Language::C, "2", "5", true, Treatment::Compress("zlib"));
    add(Language::C, "2", "4", true, Treatment::Compress("zlib-gnu"));
    add(Language::C, "2", "5", true, Treatment::Dwz);
    add(Language::Cpp, "2", "4", true, Treatment::Package);
    add(Language::Rust, "2", "5", false, Treatment::None);
    add(Language::Rust, "2", "5", true, Treatment::StripDebug);
    cases.into_iter().map(|case| Test::new(case.name(), move || check(&case))).collect()
}

/// Split DWARF in a package.
struct Package(ObjectBytes);

impl Companions for Package {
    fn split_dwarf(&self, _directory: &str, _name: &str, _id: u64) -> Option<ObjectBytes> {
        Some(Arc::clone(&self.0))
    }
}

/// Split DWARF that lies where the compiler left it.
struct Beside;

impl Companions for Beside {
    fn split_dwarf(&self, directory: &str, name: &str, _id: u64) -> Option<ObjectBytes> {
        let bytes: ObjectBytes = Arc::new(std::fs::read(Path::new(directory).join(name)).ok()?);
        Some(bytes)
    }
}

fn check(case: &Case) -> Result<Outcome, String> {
    let compiler = match case.language {
        Language::C => "gcc",
        Language::Cpp => "g++",
        Language::Rust => "rustc",
    };
    let mut needed = vec![compiler, "addr2line", "llvm-symbolizer", "objcopy"];
    match case.treatment {
        Treatment::Package if case.language != Language::Rust => needed.push("dwp"),
        Treatment::Dwz => needed.push("dwz"),
        _ => {}
    }
    if let Some(tool) = needed.into_iter().find(|tool| !have(tool)) {
        return Ok(Outcome::Skipped(tool));
    }
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = folder.path();
    let split = matches!(case.treatment, Treatment::Split | Treatment::Package);
    let parted = split || case.treatment == Treatment::Dwz;
    if parted {
        // Those that are asked read less of what is in other files; the code is the same without.
        compile(case, folder, false)?;
        std::fs::rename(folder.join("program"), folder.join("whole")).map_err(|error| error.to_string())?;
    }
    compile(case, folder, split)?;
    let files = treat(case, folder)?;
    let asked = if parted { "whole" } else { "program" };
    let object = format!("--obj={asked}");
    let program = std::fs::read(folder.join("program")).map_err(|error| error.to_string())?;
    let addresses = tools::addresses(&program, ADDRESSES);
    let llvm_arguments = [&object, "--inlines", "--no-demangle", "--output-style=GNU", "-a", "-f"];
    let said = [
        tools::ask(folder, "addr2line", &["-e", asked, "-a", "-f", "-i"], &addresses)?,
        tools::ask(folder, "llvm-symbolizer", &llvm_arguments, &addresses)?,
    ];
    let symbolizer = Symbolizer::open(files, Options::default()).map_err(|error| error.to_string())?;
    compare(&symbolizer, &addresses, &said, case)
}

/// Each answer must be that of one of them: where they differ, one of them is wrong.
fn compare(
    symbolizer: &Symbolizer,
    addresses: &[u64],
    said: &[Chains],
    case: &Case,
) -> Result<Outcome, String> {
    let answers = symbolizer.symbolize_all(addresses, &|| true);
    let mut inlined = 0;
    let mut differ = Vec::new();
    for (address, answer) in addresses.iter().zip(&answers) {
        let own = tools::own(answer);
        inlined += usize::from(own.len() > 1);
        if !tools::is_stub(&own) && !said.iter().any(|chains| same(&chains[address], &own)) {
            let said: Vec<_> = said.iter().map(|chains| &chains[address]).collect();
            differ.push(format!("{address:#x}: {own:?}, not one of {said:?}"));
        }
    }
    let resolved = answers.iter().filter(|answer| !answer.frames().is_empty()).count();
    let has_dwarf =
        !matches!(case.treatment, Treatment::StripDebug | Treatment::StripAll | Treatment::ExtractedStripped);
    if resolved == 0 || (has_dwarf && case.level == "2" && inlined == 0) {
        return Err(format!("{resolved} resolved, {inlined} inlined of {}", addresses.len()));
    }
    if differ.is_empty() {
        return Ok(Outcome::Passed);
    }
    differ.insert(0, format!("{} of {} differ", differ.len(), addresses.len()));
    differ.truncate(6);
    Err(differ.join("\n    "))
}

fn same(said: &[Frame], own: &[Frame]) -> bool {
    let same = |(a, b): (&Frame, &Frame)| whole(&a.0) == whole(&b.0) && (&a.1, a.2) == (&b.1, b.2);
    said.len() == own.len() && said.iter().zip(own).all(same)
}

fn compile(case: &Case, folder: &Path, split: bool) -> Result<(), String> {
    let optimise = format!("-O{}", case.level);
    let dwarf = format!("-gdwarf-{}", case.dwarf);
    if case.language == Language::Rust {
        let level = format!("opt-level={}", case.level);
        let dwarf = format!("dwarf-version={}", case.dwarf);
        let model = if case.pie { "relocation-model=pic" } else { "relocation-model=static" };
        let source = source("tree.rs");
        let source = source.to_string_lossy();
        let debuginfo = if split { "split-debuginfo=packed" } else { "split-debuginfo=off" };
        return run(
            folder,
            "rustc",
            &[
                "-g",
                "-C",
                &level,
                "-C",
                &dwarf,
                "-C",
                model,
                "-C",
                debuginfo,
                "--edition=2024",
                "-o",
                "program",
                &source,
            ],
        );
    }
    let (compiler, sources): (_, &[&str]) = match case.language {
        Language::Cpp => ("g++", &["shapes.cpp"]),
        _ => ("gcc", &["chain.c", "other.c"]),
    };
    let (code, link) = if case.pie { ("-fPIE", "-pie") } else { ("-fno-pie", "-no-pie") };
    let mut arguments = vec![optimise.as_str(), &dwarf, code];
    arguments.extend(split.then_some("-gsplit-dwarf"));
    let mut objects = Vec::new();
    for name in sources {
        let source = source(name);
        let object = format!("{name}.o");
        let source = source.to_string_lossy();
        let mut arguments = arguments.clone();
        arguments.extend(["-c", &source, "-o", &object]);
        run(folder, compiler, &arguments)?;
        objects.push(object);
    }
    arguments.push(link);
    // So that others may call something.
    arguments.push("-rdynamic");
    arguments.extend(["-o", "program"]);
    arguments.extend(objects.iter().map(String::as_str));
    run(folder, compiler, &arguments)
}

/// Does to the program what the case says, and gives what the symbolizer may read.
fn treat(case: &Case, folder: &Path) -> Result<ObjectFiles, String> {
    let read = |name: &str| std::fs::read(folder.join(name)).map_err(|error| format!("{name}: {error}"));
    let bytes = |name: &str| -> Result<ObjectBytes, String> { Ok(Arc::new(read(name)?)) };
    match case.treatment {
        Treatment::None => {}
        Treatment::Extracted => return Ok(ObjectFiles::of(tools::extracted(read("program")?))),
        Treatment::ExtractedStripped => {
            run(folder, "objcopy", &["--strip-debug", "program"])?;
            return Ok(ObjectFiles::of(tools::extracted(read("program")?)));
        }
        Treatment::StripDebug => run(folder, "objcopy", &["--strip-debug", "program"])?,
        Treatment::StripAll => run(folder, "objcopy", &["--strip-all", "program"])?,
        Treatment::Compress(kind) => {
            run(folder, "objcopy", &[&format!("--compress-debug-sections={kind}"), "program"])?;
        }
        Treatment::DebugLink => {
            run(folder, "objcopy", &["--only-keep-debug", "program", "program.debug"])?;
            run(folder, "objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program"])?;
            let program = read("program")?;
            let link = Elf::parse(&program).map_err(|error| error.to_string())?.debug_link();
            if link.is_none_or(|link| link.name != "program.debug") {
                return Err("the link is not read".to_owned());
            }
            let mut files = ObjectFiles::of(program);
            files.debuginfo = Some(bytes("program.debug")?);
            return Ok(files);
        }
        Treatment::Split => {
            let mut files = ObjectFiles::of(read("program")?);
            files.companions = Some(Arc::new(Beside));
            return Ok(files);
        }
        Treatment::Package => {
            if case.language != Language::Rust {
                run(folder, "dwp", &["-e", "program", "-o", "program.dwp"])?;
            }
            let mut files = ObjectFiles::of(read("program")?);
            files.companions = Some(Arc::new(Package(bytes("program.dwp")?)));
            return Ok(files);
        }
        Treatment::Dwz => {
            std::fs::copy(folder.join("program"), folder.join("twin")).map_err(|error| error.to_string())?;
            let status =
                Command::new("dwz").args(["-m", "shared", "program", "twin"]).current_dir(folder).status();
            if !status.is_ok_and(|status| status.success()) || !folder.join("shared").exists() {
                return Err("dwz made no shared file".to_owned());
            }
            let mut files = ObjectFiles::of(read("program")?);
            files.alternate = Some(bytes("shared")?);
            return Ok(files);
        }
    }
    Ok(ObjectFiles::of(read("program")?))
}
