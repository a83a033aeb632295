//! The program itself, as a person or a service manager runs it.

mod ask;
mod configuration;
mod durability;
mod process;
mod start_and_stop;
mod usage;
