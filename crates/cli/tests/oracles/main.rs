//! Programs that are compiled here, profiled by bare addresses, symbolised by a running store, and compared with what other
//! programs read from the same files.
//!
//! A main function of its own: a test that cannot run because a tool is missing must be counted as skipped.

#![expect(
    clippy::print_stdout,
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "this is a test program"
)]

#[path = "../it/process.rs"]
#[expect(dead_code, reason = "the other tests of the program use the rest")]
mod process;
#[path = "../../../symbols/tests/oracles/tools.rs"]
#[expect(dead_code, reason = "the tests of the readers use the rest")]
mod tools;

use std::{
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, ExitCode},
    time::{SystemTime, UNIX_EPOCH},
};

use decima_symbols::{
    BuildId,
    elf::Elf,
    normalize::{Mapping, Segment},
};
use decima_testkit::pprof::{self, Location, Profile, Sample, ValueType};
use prost::Message as _;

use crate::{
    process::{Server, decima, stderr},
    tools::{Chains, Frame, have, run, source, whole},
};

/// Addresses of one profile.
const ADDRESSES: u64 = 400;
const PAGE: u64 = 4096;

/// How addresses are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// As in the file, as agents send them.
    Normalized,
    /// As in the process, as pprof files have them.
    Mapped,
}

/// What is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Uploaded {
    Whole,
    /// As an agent cuts it.
    Extracted,
    /// Without symbols, and its debug information in a file of its own.
    Parted,
    /// Without symbols, then its debug information, and the former again, all of them as what they are taken for unasked.
    InAnyOrder,
    /// Only its debug information, which was split off.
    DebugOnly,
    /// Without symbols.
    Stripped,
    /// Without symbols and without a build ID: its debug information has the checksum that it names.
    Linked,
    /// As [`InAnyOrder`](Self::InAnyOrder), once a block has been written with the names of the dynamic symbols.
    WrittenInAnyOrder,
    /// As [`Linked`](Self::Linked), once a block has been written with the names of the dynamic symbols.
    WrittenLinked,
    /// Without what is in `.dwo` files, then those.
    Split,
    /// The same with all of them in a package.
    Package,
    /// The same, packed by the compiler.
    Packed,
    /// Without what it shares with another program (dwz), then that.
    Shared,
    /// The same, and what it shares is at a debuginfod server.
    SharedAtDebuginfod,
    /// With symbols only, and its debug information is at a debuginfod server.
    StrippedThenDebuginfod,
}

impl Uploaded {
    /// What is needed besides a compiler.
    fn tool(self) -> Option<&'static str> {
        match self {
            Self::Package => Some("dwp"),
            Self::Shared | Self::SharedAtDebuginfod => Some("dwz"),
            _ => None,
        }
    }

    /// Whether a block was written with what the program without debug information tells, before that came.
    fn is_after_block(self) -> bool {
        matches!(self, Self::WrittenInAnyOrder | Self::WrittenLinked)
    }

    /// Whether some of it is at a debuginfod server.
    fn is_asked_for(self) -> bool {
        matches!(self, Self::SharedAtDebuginfod | Self::StrippedThenDebuginfod)
    }

    /// Whether the program is compiled with its debug information in several files. Those that are asked read less of them.
    fn is_parted(self) -> bool {
        matches!(self, Self::Split | Self::Package | Self::Packed | Self::Shared | Self::SharedAtDebuginfod)
    }
}

/// What a program without a build ID is called.
const NAMELESS: &str = "feedfacecafe";

struct Case {
    name: &'static str,
    build: &'static [&'static str],
    sent: Sent,
    uploaded: Uploaded,
}

const CASES: &[Case] = &[
    Case { name: "C O2 PIE", build: C_PIE, sent: Sent::Mapped, uploaded: Uploaded::Whole },
    Case {
        name: "C O2 PIE uploaded by an agent",
        build: C_PIE,
        sent: Sent::Normalized,
        uploaded: Uploaded::Extracted,
    },
    Case { name: "C O2 debug link", build: C_PIE, sent: Sent::Mapped, uploaded: Uploaded::Parted },
    Case {
        name: "C O2 program and debug information in any order",
        build: C_PIE,
        sent: Sent::Mapped,
        uploaded: Uploaded::InAnyOrder,
    },
    Case {
        name: "C O2 debug information only",
        build: C_PIE,
        sent: Sent::Mapped,
        uploaded: Uploaded::DebugOnly,
    },
    Case { name: "C O0 fixed DWARF 4", build: C_FIXED, sent: Sent::Mapped, uploaded: Uploaded::Whole },
    Case { name: "C stripped", build: C_FIXED, sent: Sent::Normalized, uploaded: Uploaded::Stripped },
    Case { name: "C++ O2", build: CPP, sent: Sent::Mapped, uploaded: Uploaded::Whole },
    Case { name: "Rust O2 PIE", build: RUST, sent: Sent::Mapped, uploaded: Uploaded::Whole },
    Case { name: "Go", build: GO, sent: Sent::Mapped, uploaded: Uploaded::Whole },
    Case { name: "Go stripped", build: GO, sent: Sent::Normalized, uploaded: Uploaded::Stripped },
    Case { name: "Go PIE stripped", build: GO_PIE, sent: Sent::Mapped, uploaded: Uploaded::Stripped },
    Case { name: "C O2 link by checksum", build: C_NAMELESS, sent: Sent::Mapped, uploaded: Uploaded::Linked },
    Case {
        name: "C O2 debug information after the block",
        build: C_PIE,
        sent: Sent::Mapped,
        uploaded: Uploaded::WrittenInAnyOrder,
    },
    Case {
        name: "C O0 debug information after the block",
        build: C_FIXED,
        sent: Sent::Normalized,
        uploaded: Uploaded::WrittenInAnyOrder,
    },
    Case {
        name: "C O2 link by checksum after the block",
        build: C_NAMELESS,
        sent: Sent::Mapped,
        uploaded: Uploaded::WrittenLinked,
    },
    Case { name: "C O2 split DWARF 5", build: C_PIE, sent: Sent::Mapped, uploaded: Uploaded::Split },
    Case { name: "C O0 split DWARF 4", build: C_FIXED, sent: Sent::Normalized, uploaded: Uploaded::Split },
    Case {
        name: "C O0 package DWARF 4",
        build: C_FIXED,
        sent: Sent::Normalized,
        uploaded: Uploaded::Package,
    },
    // GNU's `dwp` packs DWARF 5 in its latest versions only.
    Case { name: "Rust O2 package DWARF 5", build: RUST_5, sent: Sent::Mapped, uploaded: Uploaded::Packed },
    Case { name: "C O2 dwz", build: C_PIE, sent: Sent::Mapped, uploaded: Uploaded::Shared },
    Case {
        name: "C O2 dwz at debuginfod",
        build: C_PIE,
        sent: Sent::Mapped,
        uploaded: Uploaded::SharedAtDebuginfod,
    },
    Case {
        name: "C++ stripped, debuginfod has more",
        build: CPP,
        sent: Sent::Mapped,
        uploaded: Uploaded::StrippedThenDebuginfod,
    },
];

const C_PIE: &[&str] =
    &["gcc", "-O2", "-g", "-gdwarf-5", "-fPIE", "-pie", "-rdynamic", "-Wl,--build-id", "chain.c", "other.c"];
const C_NAMELESS: &[&str] = &[
    "gcc",
    "-O2",
    "-g",
    "-gdwarf-5",
    "-fPIE",
    "-pie",
    "-rdynamic",
    "-Wl,--build-id=none",
    "chain.c",
    "other.c",
];
const C_FIXED: &[&str] = &[
    "gcc",
    "-O0",
    "-g",
    "-gdwarf-4",
    "-fno-pie",
    "-no-pie",
    "-rdynamic",
    "-Wl,--build-id",
    "chain.c",
    "other.c",
];
const CPP: &[&str] = &["g++", "-O2", "-g", "-gdwarf-5", "-fPIE", "-pie", "-Wl,--build-id", "shapes.cpp"];
const RUST: &[&str] = &[
    "rustc",
    "-g",
    "-Copt-level=2",
    "-Crelocation-model=pic",
    "-Clink-arg=-Wl,--build-id",
    "--edition=2024",
    "tree.rs",
];
const RUST_5: &[&str] = &[
    "rustc",
    "-g",
    "-Cdwarf-version=5",
    "-Copt-level=2",
    "-Crelocation-model=pic",
    "-Clink-arg=-Wl,--build-id",
    "--edition=2024",
    "tree.rs",
];
/// Go's linker writes the build ID that GNU's does only when told to.
const GO: &[&str] = &["go", "build", "-ldflags=-compressdwarf=false -B gobuildid"];
const GO_PIE: &[&str] = &["go", "build", "-buildmode=pie", "-ldflags=-compressdwarf=false -B gobuildid"];

fn main() -> ExitCode {
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for case in CASES {
        if !wanted.is_empty() && !wanted.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        let needed = [case.build[0], "gcc", "objcopy", "addr2line", "llvm-symbolizer"];
        if let Some(tool) = needed.into_iter().chain(case.uploaded.tool()).find(|tool| !have(tool)) {
            println!("skipped: {}: {tool} is not here", case.name);
            skipped += 1;
            continue;
        }
        match check(case) {
            Ok(compared) => {
                println!("ok: {}: {compared} addresses", case.name);
                passed += 1;
            }
            Err(reason) => {
                println!("FAILED: {}: {reason}", case.name);
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds, profiles, uploads, asks, and compares; gives how many addresses were.
fn check(case: &Case) -> Result<usize, String> {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    build(case, folder)?;
    let program = std::fs::read(folder.join("program")).unwrap();
    let addresses = tools::addresses(&program, ADDRESSES);
    let asked = if case.uploaded.is_parted() { "whole" } else { "program" };
    let object = format!("--obj={asked}");
    let said = [
        tools::ask(folder, "addr2line", &["-e", asked, "-a", "-f", "-i"], &addresses)?,
        tools::ask(
            folder,
            "llvm-symbolizer",
            &[&object, "--inlines", "--no-demangle", "--output-style=GNU", "-a", "-f"],
            &addresses,
        )?,
    ];
    let (profile, process) = bare(&program, &addresses, case.sent);
    let file = folder.join("bare.pb.gz");
    std::fs::write(&file, profile.gzip()).unwrap();

    let data = folder.join("data");
    let none = folder.join("none.yaml");
    std::fs::write(&none, "scrape_configs: []\n").unwrap();
    let config = format!("--config-path={}", none.display());
    let debuginfod = Debuginfod::start(folder);
    let servers = format!("--debuginfod-upstream-servers={}", debuginfod.url);
    let flags = [config.as_str(), "--symbolizer-timeout=60s", &servers];
    let mut server = Server::start(&data, &flags);
    tell(&server, &["upload", &file.to_string_lossy(), "--name=process_cpu"])?;
    // A debuginfod server that has nothing is believed for hours.
    let is_asked_first = case.uploaded != Uploaded::StrippedThenDebuginfod;
    let before = if is_asked_first { ask(&server, &process)? } else { Vec::new() };
    if !before.iter().all(|frames| frames.len() == 1 && frames[0].0.is_empty()) {
        return Err("there are functions before debug information".to_owned());
    }
    if case.uploaded.is_after_block() {
        server = write_names(case, folder, server, &process, || Server::start(&data, &flags))?;
    }
    upload(case, folder, &server, &process)?;
    let mut live = ask(&server, &process)?;
    // What a debuginfod server has comes when it comes.
    for _ in 0..300 {
        if !case.uploaded.is_asked_for() || compare(case, &addresses, &live, &said).is_ok() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        live = ask(&server, &process)?;
    }
    let compared = compare(case, &addresses, &live, &said)?;
    if case.build == GO && case.uploaded == Uploaded::Whole {
        compare_with_pprof(folder, &file, &process, &live)?;
    }

    stop(server)?;
    if !case.uploaded.is_after_block() {
        // The block that the end of the store makes has the functions, without the object files.
        std::fs::remove_dir_all(data.join("default/debuginfo")).unwrap();
    }
    let server = Server::start(&data, &flags);
    let stored = ask(&server, &process)?;
    if stored != live {
        return Err("the block has other functions than the head".to_owned());
    }
    Ok(compared)
}

/// Ends a store, which writes its head to a block.
fn stop(server: Server) -> Result<(), String> {
    server.signal("TERM");
    let (status, _, log) = server.wait();
    if status.success() { Ok(()) } else { Err(log) }
}

/// Uploads the program without debug information and makes the store write a block, whose functions are names then.
fn write_names(
    case: &Case,
    folder: &Path,
    server: Server,
    process: &[u64],
    start: impl Fn() -> Server,
) -> Result<Server, String> {
    part(folder)?;
    let stripped = folder.join("stripped").to_string_lossy().into_owned();
    let named = format!("--build-id={NAMELESS}");
    let named = (case.uploaded == Uploaded::WrittenLinked).then_some(&*named);
    let arguments: Vec<&str> = ["debuginfo", "upload"].into_iter().chain(named).chain([&*stripped]).collect();
    tell(&server, &arguments)?;
    stop(server)?;
    let server = start();
    let written = ask(&server, process)?;
    if let Some(frames) = written.iter().find(|frames| frames.len() != 1 || frames[0].2 != 0) {
        return Err(format!("{frames:?} have more than a name before debug information"));
    }
    let names = written.iter().filter(|frames| !frames[0].0.is_empty()).count();
    if names < 5 {
        return Err(format!("{names} of {} addresses have names in the block", written.len()));
    }
    Ok(server)
}

fn build(case: &Case, folder: &Path) -> Result<(), String> {
    let [compiler, arguments @ ..] = case.build else { return Err("nothing to build".to_owned()) };
    if *compiler == "go" {
        let output = Command::new("go")
            .args(arguments)
            .arg("-o")
            .arg(folder.join("program"))
            .current_dir(source("gomod"))
            .envs([("CGO_ENABLED", "0"), ("GOEXPERIMENT", "nodwarf5"), ("GOFLAGS", "-buildvcs=false")])
            .output()
            .map_err(|error| error.to_string())?;
        let failed = || String::from_utf8_lossy(&output.stderr).into_owned();
        return if output.status.success() { Ok(()) } else { Err(failed()) };
    }
    let sources = ["chain.c", "other.c", "shapes.cpp", "tree.rs"];
    let path = |argument: &&str| match sources.contains(argument) {
        true => source(argument).to_string_lossy().into_owned(),
        false => (*argument).to_owned(),
    };
    let arguments: Vec<String> = arguments.iter().map(path).collect();
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.extend(["-o", "program"]);
    run(folder, compiler, &arguments)?;
    if case.uploaded.is_parted() {
        // The code is the same without.
        std::fs::copy(folder.join("program"), folder.join("whole")).map_err(|error| error.to_string())?;
    }
    let split = match case.uploaded {
        Uploaded::Split | Uploaded::Package => Some("-gsplit-dwarf"),
        Uploaded::Packed => Some("-Csplit-debuginfo=packed"),
        _ => None,
    };
    if let Some(split) = split {
        arguments.push(split);
        run(folder, compiler, &arguments)?;
    }
    Ok(())
}

/// A debuginfod server that has the file `at-debuginfod` of a folder, whatever it is asked for, if that is there.
struct Debuginfod {
    url: String,
}

impl Debuginfod {
    fn start(folder: &Path) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let file = folder.join("at-debuginfod");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked);
                let (status, body) = match std::fs::read(&file) {
                    Ok(bytes) => ("200 OK", bytes),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all(&[head.into_bytes(), body].concat());
            }
        });
        Self { url }
    }
}

/// A profile with one sample for each address, and the addresses as they are in it.
fn bare(program: &[u8], addresses: &[u64], sent: Sent) -> (Profile, Vec<u64>) {
    let elf = Elf::parse(program).unwrap();
    let build_id = BuildId::gnu(&elf).map_or_else(|| NAMELESS.to_owned(), |id| id.to_string());
    let segments = elf.segments();
    let code = segments.iter().filter(|segment| segment.executable).max_by_key(|s| s.size_bytes).unwrap();
    let (mapping, base) = match sent {
        Sent::Normalized => (Mapping { start: 0, limit: 0, offset: 0 }, 0),
        Sent::Mapped => mapped(code, elf.is_relocatable()),
    };
    let strings = ["", "samples", "count", "cpu", "nanoseconds", "/opt/program", &build_id];
    let process: Vec<u64> = addresses.iter().map(|address| base + address).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let profile = Profile {
        sample_type: vec![ValueType { r#type: 1, unit: 2 }],
        period_type: Some(ValueType { r#type: 3, unit: 4 }),
        period: 1,
        time_nanos: now.as_nanos() as i64,
        duration_nanos: 1_000_000_000,
        string_table: strings.map(str::to_owned).to_vec(),
        mapping: vec![pprof::Mapping {
            id: 1,
            memory_start: mapping.start,
            memory_limit: mapping.limit,
            file_offset: mapping.offset,
            filename: 5,
            build_id: 6,
            ..pprof::Mapping::default()
        }],
        location: process
            .iter()
            .zip(1..)
            .map(|(&address, id)| Location { id, mapping_id: 1, address, ..Location::default() })
            .collect(),
        sample: (1..=process.len() as u64)
            .map(|id| Sample { location_id: vec![id], value: vec![id as i64], ..Sample::default() })
            .collect(),
        ..Profile::default()
    };
    (profile, process)
}

/// Where a kernel may have put a segment, and what is added to addresses.
fn mapped(code: &Segment, relocatable: bool) -> (Mapping, u64) {
    let base = if relocatable { 0x5555_5555_0000 } else { 0 };
    let before = code.address % PAGE;
    let start = base + code.address - before;
    let limit = (base + code.address + code.size_bytes).next_multiple_of(PAGE);
    (Mapping { start, limit, offset: code.offset - before }, base)
}

fn upload(case: &Case, folder: &Path, server: &Server, process: &[u64]) -> Result<(), String> {
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let program = path("program");
    match case.uploaded {
        Uploaded::Whole => tell(server, &["debuginfo", "upload", &program])?,
        Uploaded::Extracted => {
            let extracted = path("extracted");
            std::fs::write(&extracted, tools::extracted(std::fs::read(&program).unwrap())).unwrap();
            tell(server, &["debuginfo", "upload", &extracted])?
        }
        Uploaded::Stripped => {
            run(folder, "objcopy", &["--strip-all", "program", "stripped"])?;
            tell(server, &["debuginfo", "upload", &path("stripped")])?
        }
        Uploaded::Linked => {
            part(folder)?;
            let named = format!("--build-id={NAMELESS}");
            tell(server, &["debuginfo", "upload", &named, &path("stripped")])?;
            // As long as there is less, less is said, and more as soon as there is more.
            ask(server, process)?;
            tell(server, &["debuginfo", "upload", &path("program.debug")])?
        }
        Uploaded::WrittenInAnyOrder | Uploaded::WrittenLinked => {
            tell(server, &["debuginfo", "upload", &path("program.debug")])?
        }
        Uploaded::Split => {
            tell(server, &["debuginfo", "upload", &program])?;
            ask(server, process)?;
            tell(server, &["debuginfo", "upload", &path("program-chain.dwo"), &path("program-other.dwo")])?
        }
        Uploaded::Package | Uploaded::Packed => {
            if case.uploaded == Uploaded::Package {
                run(folder, "dwp", &["-e", "program", "-o", "program.dwp"])?;
            }
            tell(server, &["debuginfo", "upload", &program])?;
            ask(server, process)?;
            tell(server, &["debuginfo", "upload", &path("program.dwp")])?
        }
        Uploaded::Shared | Uploaded::SharedAtDebuginfod => {
            std::fs::copy(folder.join("program"), folder.join("twin")).unwrap();
            run(folder, "dwz", &["-m", "shared", "program", "twin"])?;
            if case.uploaded == Uploaded::SharedAtDebuginfod {
                std::fs::rename(folder.join("shared"), folder.join("at-debuginfod")).unwrap();
                return tell(server, &["debuginfo", "upload", &program]).map(drop);
            }
            tell(server, &["debuginfo", "upload", &program])?;
            ask(server, process)?;
            tell(server, &["debuginfo", "upload", &path("shared")])?
        }
        Uploaded::StrippedThenDebuginfod => {
            run(folder, "objcopy", &["--only-keep-debug", "program", "at-debuginfod"])?;
            // Most addresses have a function from the beginning, and are to have lines then.
            run(folder, "objcopy", &["--strip-debug", "program", "stripped"])?;
            tell(server, &["debuginfo", "upload", &path("stripped")])?
        }
        Uploaded::DebugOnly => {
            run(folder, "objcopy", &["--only-keep-debug", "program", "program.debug"])?;
            tell(server, &["debuginfo", "upload", &path("program.debug")])?
        }
        Uploaded::InAnyOrder => {
            part(folder)?;
            tell(server, &["debuginfo", "upload", &path("stripped")])?;
            ask(server, process)?;
            tell(server, &["debuginfo", "upload", &path("program.debug"), &path("stripped")])?
        }
        Uploaded::Parted => {
            part(folder)?;
            tell(server, &["debuginfo", "upload", "--executable", &path("stripped")])?;
            tell(server, &["debuginfo", "upload", &path("program.debug")])?
        }
    };
    Ok(())
}

/// Makes of a program its debug information, and the same program without, that names it.
fn part(folder: &Path) -> Result<(), String> {
    run(folder, "objcopy", &["--only-keep-debug", "program", "program.debug"])?;
    run(folder, "objcopy", &["--strip-all", "--add-gnu-debuglink=program.debug", "program", "stripped"])
}

/// Runs a command against the store; gives what it prints.
fn tell(server: &Server, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = decima().args(arguments).args(["--address", server.url()]).output().unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{arguments:?}: {}", stderr(&output)))
    }
}

/// What the store says of each address, innermost first.
fn ask(server: &Server, process: &[u64]) -> Result<Vec<Vec<Frame>>, String> {
    let selector = "process_cpu:samples:count:cpu:nanoseconds:delta";
    let bytes = tell(server, &["query", selector, "--format=pprof"])?;
    let mut message = Vec::new();
    flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut message).map_err(|error| error.to_string())?;
    let profile = Profile::decode(&*message).map_err(|error| error.to_string())?;
    let total: i64 = profile.sample.iter().map(|sample| sample.value[0]).sum();
    let expected = (process.len() * (process.len() + 1) / 2) as i64;
    if total != expected {
        return Err(format!("the values sum up to {total} instead of {expected}"));
    }
    let text = |id: i64| profile.string_table[id as usize].clone();
    let frames = |location: &Location| {
        let lines = location.line.iter().map(|line| {
            let function = &profile.function[line.function_id as usize - 1];
            let file = text(function.filename);
            let file = if line.line == 0 { "" } else { file.rsplit('/').next().unwrap_or_default() };
            (text(function.system_name), file.to_owned(), line.line as u32)
        });
        let frames: Vec<Frame> = lines.collect();
        if frames.is_empty() { vec![(String::new(), String::new(), 0)] } else { frames }
    };
    let of = |address: &u64| {
        let found = profile.location.iter().find(|location| location.address == *address);
        found.map(frames).ok_or_else(|| format!("{address:#x} is lost"))
    };
    process.iter().map(of).collect()
}

fn compare(case: &Case, addresses: &[u64], stored: &[Vec<Frame>], said: &[Chains]) -> Result<usize, String> {
    let go = case.build[0] == "go";
    let names_only = case.uploaded == Uploaded::Stripped && !go;
    let (mut compared, mut differ) = (0, Vec::new());
    for (address, own) in addresses.iter().zip(stored) {
        if tools::is_stub(own) {
            continue;
        }
        if own[0].0.is_empty() && (names_only || go) {
            // Symbol tables end where others guess, and Go's has not what it links from C.
            continue;
        }
        let known = said.iter().any(|chains| !chains[address].iter().all(|frame| frame.0.is_empty()));
        if !known {
            continue;
        }
        compared += 1;
        let same = |said: &Vec<Frame>| match names_only {
            true => said.last().map(|frame| whole(&frame.0)) == own.last().map(|frame| whole(&frame.0)),
            false => said.len() == own.len() && said.iter().zip(own).all(|(a, b)| same_frame(a, b, go)),
        };
        if !said.iter().any(|chains| same(&chains[address])) {
            let said: Vec<_> = said.iter().map(|chains| &chains[address]).collect();
            differ.push(format!("{address:#x}: {own:?}, not one of {said:?}"));
        }
    }
    let enough = if names_only { 5 } else { addresses.len() / 4 };
    if compared < enough {
        return Err(format!("{compared} of {} compared", addresses.len()));
    }
    if differ.is_empty() {
        return Ok(compared);
    }
    differ.insert(0, format!("{} of {compared} differ", differ.len()));
    differ.truncate(6);
    Err(differ.join("\n    "))
}

/// What `go tool pprof` makes of the profile that was sent, by the program itself. It tells the function that was called, and the
/// place in whatever was inlined into it.
fn compare_with_pprof(
    folder: &Path,
    profile: &Path,
    process: &[u64],
    own: &[Vec<Frame>],
) -> Result<(), String> {
    let output = Command::new("go")
        .args(["tool", "pprof", "-raw", "-symbolize=local", "program"])
        .arg(profile)
        .current_dir(folder)
        .env("PPROF_TMPDIR", folder)
        .output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let locations = text.lines().skip_while(|line| *line != "Locations").skip(1);
    // As in `     7: 0x47b2a4 M=1 main.work /src/main.go:31:0 s=28`.
    let said = locations.take_while(|line| *line != "Mappings").filter_map(|line| {
        let (_, line) = line.split_once(": 0x")?;
        let (address, line) = line.split_once(" M=1 ")?;
        let (line, _) = line.rsplit_once(" s=")?;
        let (name, place) = line.rsplit_once(' ')?;
        let mut place = place.split(':');
        let file = place.next()?.rsplit('/').next()?;
        let frame: Frame = (name.to_owned(), file.to_owned(), place.next()?.parse().ok()?);
        Some((u64::from_str_radix(address, 16).ok()?, frame))
    });
    let said: std::collections::HashMap<u64, Frame> = said.collect();
    let (mut compared, mut differ) = (0, Vec::new());
    for (address, own) in process.iter().zip(own) {
        let (Some((name, file, line)), [innermost, ..], [.., outermost]) =
            (said.get(address), &**own, &**own)
        else {
            continue;
        };
        if name.is_empty() || outermost.0.is_empty() {
            continue;
        }
        compared += 1;
        // Type arguments are written out by one and left out by the other.
        let plain = |name: &str| name.split('[').next().unwrap_or_default().to_owned();
        if plain(name) != plain(&outermost.0) || (file, *line) != (&innermost.1, innermost.2) {
            differ.push(format!("{address:#x}: {own:?}, not {name} {file}:{line}"));
        }
    }
    if compared < process.len() / 2 {
        return Err(format!("go tool pprof knows {compared} of {} addresses", process.len()));
    }
    differ.truncate(6);
    if differ.is_empty() {
        Ok(())
    } else {
        Err(format!("go tool pprof differs\n    {}", differ.join("\n    ")))
    }
}

fn same_frame(said: &Frame, own: &Frame, go: bool) -> bool {
    if !go {
        return whole(&said.0) == whole(&own.0) && (&said.1, said.2) == (&own.1, own.2);
    }
    // Assembler routines have the name of their calling convention in DWARF, and what the compiler made has no line.
    let name = said.0.strip_suffix(".abi0").unwrap_or(&said.0);
    name == own.0.replace('·', ".") && (said.2 == 0 || (&said.1, said.2) == (&own.1, own.2))
}
