//! The program `decima`: reads the command line, runs one command, gives an exit code.
//!
//! 0 = done, 1 = it failed (one message on standard error), 2 = the command line is wrong (the message names the flag).
//! Start at [`args`] for what can be typed and at [`serve`] for how the parts are put together.

mod args;
mod check_config;
mod client;
mod config_file;
mod debuginfo;
mod file_hash;
mod forwarding;
mod given;
mod inspect;
mod logging;
mod parca_flags;
mod place;
mod profile_name;
mod query;
mod serve;
mod settings;
mod token;
mod upload;
mod value;

use std::{io::Write, process::ExitCode};

use crate::{
    args::{Arguments, Command},
    settings::{Settings, UsageError},
};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Read by jemalloc before `main`: sample allocations, one each 4 MiB on average, so that the store can show where its
/// memory comes from. Go's 512 KiB cost eight times as much, which is felt where profiles are received. Few arenas whose free pages go
/// back after a third of a second: queries take and free hundreds of megabytes, and with jemalloc's defaults (four arenas a core, ten
/// seconds) the process looked far larger than what it used. Threads keep what they free up to 1 MiB for what they take next: requests
/// are decoded into tables of some hundred KiB each.
#[expect(unsafe_code, reason = "jemalloc finds its settings by this symbol")]
#[unsafe(export_name = "malloc_conf")]
#[cfg(not(target_env = "musl"))]
pub static MALLOC_CONF: &[u8; 133] =
    b"prof:true,prof_active:true,lg_prof_sample:22,narenas:2,tcache_max:1048576,dirty_decay_ms:300,muzzy_decay_ms:0,background_thread:true\0";

/// The same beside musl's own allocator, where jemalloc's names begin otherwise and it cannot make threads.
#[expect(unsafe_code, reason = "jemalloc finds its settings by this symbol")]
#[unsafe(export_name = "_rjem_malloc_conf")]
#[cfg(target_env = "musl")]
pub static MALLOC_CONF: &[u8; 110] =
    b"prof:true,prof_active:true,lg_prof_sample:22,narenas:2,tcache_max:1048576,dirty_decay_ms:300,muzzy_decay_ms:0\0";

/// Exit code of a wrong command line.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments = match Arguments::parse_from_line(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let Err(error) = run(arguments) else { return ExitCode::SUCCESS };
    let mut stderr = std::io::stderr().lock();
    let _ = writeln!(stderr, "error: {error:#}");
    if error.is::<UsageError>() { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let command = arguments.command.unwrap_or_else(|| Command::Serve(Box::new(arguments.serve)));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match command {
        Command::Serve(flags) => runtime.block_on(serve::run(Settings::check(*flags)?)),
        Command::Upload(flags) => runtime.block_on(upload::run(flags)),
        Command::Query(flags) => runtime.block_on(query::run(flags)),
        Command::Inspect(flags) => runtime.block_on(inspect::run(flags)),
        Command::CheckConfig(flags) => check_config::run(&flags),
        Command::Debuginfo(command) => runtime.block_on(debuginfo::run(command)),
        Command::Token(command) => token::run(command),
    }
}
