//! The program itself, as a person or a service manager runs it.

mod process;
mod start_and_stop;
mod usage;
