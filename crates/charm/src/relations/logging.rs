//! `loki_push_api`: Pebble sends the workload's output to Loki.

use std::collections::BTreeMap;

use decima_juju::pebble::{Layer, LogTarget, Override};
use parca_store::External;
use serde::Deserialize;

use super::Problem;
use crate::{names::LOGGING, world::World};

/// What a unit of Loki says.
#[derive(Deserialize)]
struct Endpoint {
    url: String,
}

/// Where output goes, by the name of the target. Targets of the plan that are not wanted any more take nothing.
pub fn targets(world: &World, plan: &Layer, problems: &mut Vec<Problem>) -> BTreeMap<String, LogTarget> {
    let mut targets = BTreeMap::new();
    for relation in world.of(LOGGING) {
        for (unit, bag) in &relation.units {
            // A unit that has just joined has not said anything yet.
            let Some(text) = bag.get("endpoint") else { continue };
            match serde_json::from_str::<Endpoint>(text) {
                Ok(Endpoint { url }) if is_url(&url) => {
                    drop(targets.insert(unit.to_string(), target(world, url)));
                }
                _ => problems
                    .push(Problem::of(&relation.id, format_args!("endpoint of {unit} is not a URL in JSON"))),
            }
        }
    }
    for (name, old) in &plan.log_targets {
        targets.entry(name.clone()).or_insert_with(|| LogTarget {
            r#override: Override::Replace,
            services: Vec::new(),
            labels: BTreeMap::new(),
            ..old.clone()
        });
    }
    targets
}

fn is_url(text: &str) -> bool {
    const CHARS_MAX: usize = 2048;
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    is_http && text.len() <= CHARS_MAX && External::url_host(text).is_ok()
}

fn target(world: &World, url: String) -> LogTarget {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let (app, unit) = (world.unit.app().as_str(), world.unit.to_string());
    let job =
        format!("juju_{}_{}_{app}", world.model_name, world.model_uuid.chars().take(8).collect::<String>());
    LogTarget {
        r#override: Override::Replace,
        r#type: "loki".to_owned(),
        location: url,
        services: vec!["all".to_owned()],
        labels: BTreeMap::from([
            label("product", "Juju"),
            label("charm", crate::names::CHARM),
            label("juju_model", &world.model_name),
            label("juju_model_uuid", &world.model_uuid),
            label("juju_application", app),
            label("juju_unit", &unit),
            label("job", &job),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let check = |text: &str, expected: bool| assert_eq!(is_url(text), expected, "{text:?}");
        check("http://loki:3100/loki/api/v1/push", true);
        check("https://[fd00::1]/loki/api/v1/push", true);
        check("https://user:word@loki.example/push?x=y", true);
        check("https://:::::", false);
        check("https://", false);
        check("https:///push", false);
        check("http://h..x/push", false);
        check("http://h:99999/push", false);
        check("ftp://h/push", false);
        check("http://h/a b", false);
    }
}
