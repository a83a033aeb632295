//! The hook tools of the simulated agent, for the tests of this package.

fn main() -> std::process::ExitCode {
    decima_juju_fake::tool_main()
}
