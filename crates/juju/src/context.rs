//! The context of a hook: which unit, which event, read from the variables that Juju sets.
//!
//! Juju sets some variables to nothing where they do not apply, so an empty one counts as unset. Only the dispatch path,
//! the unit's name and what the event itself needs must be there.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use decima_base::ErrorKind;

use crate::{
    event::{Event, Hook, HookName, PebbleChange, PebbleEvent, RelationEvent, SecretEvent, StorageEvent},
    names::{AppName, NameError, RelationId, UnitName},
};

/// The variables do not make a context.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// A variable that the event needs is unset or empty.
    #[error("{variable} is not set")]
    Missing {
        /// Its name.
        variable: &'static str,
    },
    /// A variable holds something else than a name.
    #[error("{variable} cannot be read")]
    Malformed {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it.
        #[source]
        source: NameError,
    },
}

impl ContextError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Which unit is called for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookContext {
    /// This unit.
    pub unit: UnitName,
    /// What it is called for.
    pub event: Event,
    /// Name of the model.
    pub model_name: Option<String>,
    /// Identifier of the model.
    pub model_uuid: Option<String>,
    /// Folder of the unpacked charm.
    pub charm_dir: Option<PathBuf>,
    /// Version of the agent.
    pub juju_version: Option<String>,
}

impl HookContext {
    /// Reads the environment of this process.
    pub fn from_env() -> Result<Self, ContextError> {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        };
        Self::from_vars(std::env::vars_os().filter_map(text))
    }

    /// Reads variables, given as name and value.
    pub fn from_vars<N, V>(vars: impl IntoIterator<Item = (N, V)>) -> Result<Self, ContextError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let vars = vars.into_iter().map(|(name, value)| (name.into(), value.into()));
        let vars = Variables(vars.filter(|(_, value): &(String, String)| !value.is_empty()).collect());
        Ok(Self {
            unit: vars.name("JUJU_UNIT_NAME")?,
            event: vars.event()?,
            model_name: vars.text("JUJU_MODEL_NAME"),
            model_uuid: vars.text("JUJU_MODEL_UUID"),
            charm_dir: vars.text("JUJU_CHARM_DIR").or_else(|| vars.text("CHARM_DIR")).map(PathBuf::from),
            juju_version: vars.text("JUJU_VERSION"),
        })
    }

    /// The application that this unit belongs to.
    pub fn app(&self) -> &AppName {
        self.unit.app()
    }

    /// The relation event that this is, if it is one.
    pub fn relation_event(&self) -> Option<&RelationEvent> {
        match &self.event {
            Event::Hook(Hook::Relation(event)) => Some(event),
            _ => None,
        }
    }
}

/// Variables that are set to something.
struct Variables(BTreeMap<String, String>);

impl Variables {
    fn text(&self, variable: &str) -> Option<String> {
        self.0.get(variable).cloned()
    }

    fn required(&self, variable: &'static str) -> Result<&str, ContextError> {
        self.0.get(variable).map(String::as_str).ok_or(ContextError::Missing { variable })
    }

    fn name<T: FromStr<Err = NameError>>(&self, variable: &'static str) -> Result<T, ContextError> {
        self.required(variable)?.parse().map_err(|source| ContextError::Malformed { variable, source })
    }

    fn optional_name<T: FromStr<Err = NameError>>(
        &self,
        variable: &'static str,
    ) -> Result<Option<T>, ContextError> {
        match self.name(variable) {
            Ok(name) => Ok(Some(name)),
            Err(ContextError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn event(&self) -> Result<Event, ContextError> {
        let path = self.required("JUJU_DISPATCH_PATH")?;
        let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
        if path.starts_with("actions/") {
            return Ok(Event::Action(name.to_owned()));
        }
        let pebble = |change: PebbleChange, container: &str| {
            Hook::Pebble(PebbleEvent { change, container: container.to_owned() })
        };
        Ok(Event::Hook(match HookName::parse(name) {
            HookName::Plain(hook) => hook,
            HookName::Relation(endpoint, change) => {
                let remote_unit: Option<UnitName> = self.optional_name("JUJU_REMOTE_UNIT")?;
                let remote_app = self.optional_name("JUJU_REMOTE_APP")?;
                Hook::Relation(RelationEvent {
                    change,
                    relation: self.relation(endpoint)?,
                    remote_app: remote_app.or_else(|| remote_unit.as_ref().map(|unit| unit.app().clone())),
                    remote_unit,
                    departing_unit: self.optional_name("JUJU_DEPARTING_UNIT")?,
                })
            }
            HookName::PebbleReady(container) => pebble(PebbleChange::Ready, container),
            HookName::PebbleCustomNotice(container) => pebble(PebbleChange::CustomNotice, container),
            HookName::PebbleCheckFailed(container) => {
                let check = self.required("JUJU_PEBBLE_CHECK_NAME")?.to_owned();
                pebble(PebbleChange::CheckFailed(check), container)
            }
            HookName::PebbleCheckRecovered(container) => {
                let check = self.required("JUJU_PEBBLE_CHECK_NAME")?.to_owned();
                pebble(PebbleChange::CheckRecovered(check), container)
            }
            HookName::Storage(storage, change) => {
                Hook::Storage(StorageEvent { change, storage: storage.to_owned() })
            }
            HookName::Secret(change) => Hook::Secret(SecretEvent {
                change,
                id: self.required("JUJU_SECRET_ID")?.to_owned(),
                label: self.text("JUJU_SECRET_LABEL"),
                revision: self.text("JUJU_SECRET_REVISION").and_then(|text| text.parse().ok()),
            }),
        }))
    }

    /// The relation of a hook: of the endpoint that the hook's name says, by the number that the variable ends with.
    fn relation(&self, endpoint: &str) -> Result<RelationId, ContextError> {
        const VARIABLE: &str = "JUJU_RELATION_ID";
        let text = self.required(VARIABLE)?;
        let number = text.rsplit_once(':').map_or(text, |(_, number)| number);
        format!("{endpoint}:{number}")
            .parse()
            .map_err(|source| ContextError::Malformed { variable: VARIABLE, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{RelationChange, SecretChange};

    fn context(vars: &[(&str, &str)]) -> Result<HookContext, ContextError> {
        HookContext::from_vars(vars.iter().copied())
    }

    #[test]
    fn a_relation_hook() {
        let context = context(&[
            ("JUJU_UNIT_NAME", "parca/0"),
            ("JUJU_DISPATCH_PATH", "hooks/parca-store-endpoint-relation-departed"),
            ("JUJU_RELATION_ID", "parca-store-endpoint:7"),
            ("JUJU_REMOTE_UNIT", "agent/1"),
            ("JUJU_REMOTE_APP", "agent"),
            ("JUJU_DEPARTING_UNIT", "agent/1"),
            ("JUJU_MODEL_NAME", ""),
        ])
        .unwrap();
        let event = context.relation_event().unwrap();
        assert_eq!(event.change, RelationChange::Departed);
        assert_eq!(event.relation.to_string(), "parca-store-endpoint:7");
        assert_eq!(event.remote_app.as_ref().unwrap().as_str(), "agent");
        assert_eq!(event.departing_unit, event.remote_unit);
        assert_eq!(context.model_name, None);
        assert_eq!(context.app().as_str(), "parca");
    }

    #[test]
    fn empty_counts_as_unset() {
        let context = context(&[
            ("JUJU_UNIT_NAME", "parca/0"),
            ("JUJU_DISPATCH_PATH", "hooks/ep-relation-broken"),
            ("JUJU_RELATION_ID", "ep:7"),
            ("JUJU_REMOTE_UNIT", ""),
            ("JUJU_REMOTE_APP", ""),
        ])
        .unwrap();
        let event = context.relation_event().unwrap();
        assert_eq!((event.remote_unit.as_ref(), event.remote_app.as_ref()), (None, None));
    }

    #[test]
    fn other_events() {
        let event = |path: &str, more: &[(&str, &str)]| {
            let mut vars = vec![("JUJU_UNIT_NAME", "a/0"), ("JUJU_DISPATCH_PATH", path)];
            vars.extend(more);
            context(&vars).map(|context| context.event)
        };
        assert_eq!(event("actions/create-token", &[]), Ok(Event::Action("create-token".to_owned())));
        assert_eq!(event("hooks/update-status", &[]), Ok(Event::Hook(Hook::UpdateStatus)));
        assert_eq!(
            event("hooks/parca-pebble-check-failed", &[("JUJU_PEBBLE_CHECK_NAME", "up")]),
            Ok(Event::Hook(Hook::Pebble(PebbleEvent {
                change: PebbleChange::CheckFailed("up".to_owned()),
                container: "parca".to_owned()
            })))
        );
        assert_eq!(
            event("hooks/secret-changed", &[("JUJU_SECRET_ID", "secret:x"), ("JUJU_SECRET_REVISION", "2")]),
            Ok(Event::Hook(Hook::Secret(SecretEvent {
                change: SecretChange::Changed,
                id: "secret:x".to_owned(),
                label: None,
                revision: Some(2)
            })))
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let check = |vars: &[(&str, &str)], expected: &str| {
            assert_eq!(context(vars).unwrap_err().to_string(), expected);
        };
        check(&[], "JUJU_UNIT_NAME is not set");
        check(&[("JUJU_UNIT_NAME", "x")], "JUJU_UNIT_NAME cannot be read");
        check(&[("JUJU_UNIT_NAME", "x/0")], "JUJU_DISPATCH_PATH is not set");
        let joined = [("JUJU_UNIT_NAME", "x/0"), ("JUJU_DISPATCH_PATH", "hooks/a-relation-joined")];
        check(&joined, "JUJU_RELATION_ID is not set");
        check(&[joined[0], joined[1], ("JUJU_RELATION_ID", "a:b")], "JUJU_RELATION_ID cannot be read");
    }
}
