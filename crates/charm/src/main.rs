//! What Juju runs for every event.

use std::{error::Error, io::Write, process::ExitCode};

use decima_charm::{
    action, apply,
    mint::Machine,
    names::{CONTAINER, CONTAINERS_VARIABLE},
    reconcile::reconcile,
    world::World,
};
use decima_juju::{Event, HookContext, HookTools, pebble};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            let _ = writeln!(std::io::stderr(), "{text}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let context = HookContext::from_env()?;
    let tools = HookTools::from_path();
    let containers = std::env::var_os(CONTAINERS_VARIABLE).unwrap_or_else(|| pebble::CONTAINERS.into());
    let socket = std::path::Path::new(&containers).join(CONTAINER).join("pebble.socket");
    let pebble = pebble::Pebble::at(socket);
    let world = World::read(&context, &tools, &pebble, parca_store::fqdn)?;
    if let Event::Action(name) = &context.event {
        let done = action::run(name, &world, &tools, &mut Machine)?;
        // An action may have made a token, which the workload has to know.
        let world = World::read(&context, &tools, &pebble, || world.fqdn.clone())?;
        apply::apply(&world, reconcile(&world, &mut Machine), &tools, &pebble)?;
        return Ok(done.tell(&tools, &pebble)?);
    }
    apply::apply(&world, reconcile(&world, &mut Machine), &tools, &pebble)?;
    Ok(())
}
