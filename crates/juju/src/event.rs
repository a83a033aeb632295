//! Events: what Juju calls the charm for, with what belongs to each.
//!
//! The name comes from the dispatch path, whatever else from variables of the hook. A hook that this crate does not know
//! is an event too ([`Hook::Other`]): charms end well on what they do not handle.

use crate::names::{AppName, RelationId, UnitName};

/// What the charm is called for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something happened in the model.
    Hook(Hook),
    /// Somebody runs an action, by its name in the charm's metadata.
    Action(String),
}

/// Something that happened in the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hook {
    /// The unit is new.
    Install,
    /// The unit starts, and started again after its pod was replaced.
    Start,
    /// The unit stops.
    Stop,
    /// The unit goes away.
    Remove,
    /// Options may have changed.
    ConfigChanged,
    /// Some minutes passed.
    UpdateStatus,
    /// The charm was replaced by another version of itself; after the replacement of a pod too.
    UpgradeCharm,
    /// This unit leads now.
    LeaderElected,
    /// A relation came, changed or went.
    Relation(RelationEvent),
    /// The Pebble of a container has something to tell.
    Pebble(PebbleEvent),
    /// A secret changed, or asks for change.
    Secret(SecretEvent),
    /// A storage came or goes.
    Storage(StorageEvent),
    /// Any other, by name.
    Other(String),
}

/// An event of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationEvent {
    /// What happened to it.
    pub change: RelationChange,
    /// Which one.
    pub relation: RelationId,
    /// The other application; Juju always names it, other callers may not.
    pub remote_app: Option<AppName>,
    /// The unit whose joining, change or departure this is; none when it is about the application.
    pub remote_unit: Option<UnitName>,
    /// With [`RelationChange::Departed`]: who departs; may be this unit itself.
    pub departing_unit: Option<UnitName>,
}

/// What happened to a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelationChange {
    /// It was made; no unit of the other side is seen yet.
    Created,
    /// A unit of the other side is seen.
    Joined,
    /// Data of the other side changed.
    Changed,
    /// A unit, of the other side or this one, leaves.
    Departed,
    /// It is gone; its data can be read once more, not written.
    Broken,
}

/// An event of one container's Pebble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PebbleEvent {
    /// What happened.
    pub change: PebbleChange,
    /// Name of the container in the charm's metadata.
    pub container: String,
}

/// What a Pebble tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PebbleChange {
    /// It answers now; its plan is empty if the container is new.
    Ready,
    /// The workload sent a notice.
    CustomNotice,
    /// A check reached its threshold of failures; its name.
    CheckFailed(String),
    /// A check that had failed succeeds; its name.
    CheckRecovered(String),
}

/// An event of one secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretEvent {
    /// What happened.
    pub change: SecretChange,
    /// The secret's identifier.
    pub id: String,
    /// The label that this unit knows it by.
    pub label: Option<String>,
    /// The revision that expired or is no longer read by anybody.
    pub revision: Option<u64>,
}

/// What happened to a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SecretChange {
    /// Its owner made a new revision.
    Changed,
    /// A revision of ours reached its expiry.
    Expired,
    /// A revision of ours has no reader any more.
    Remove,
    /// Our rotation policy asks for a new revision.
    Rotate,
}

/// An event of one storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageEvent {
    /// What happened.
    pub change: StorageChange,
    /// Name of the storage in the charm's metadata.
    pub storage: String,
}

/// What happened to a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StorageChange {
    /// It is there.
    Attached,
    /// It will be gone after this hook.
    Detaching,
}

/// What the name of a hook says by itself; the rest stands in variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HookName<'a> {
    Plain(Hook),
    Relation(&'a str, RelationChange),
    PebbleReady(&'a str),
    PebbleCustomNotice(&'a str),
    PebbleCheckFailed(&'a str),
    PebbleCheckRecovered(&'a str),
    Storage(&'a str, StorageChange),
    Secret(SecretChange),
}

impl<'a> HookName<'a> {
    /// Reads the name of a hook as Juju writes it, with dashes.
    pub(crate) fn parse(name: &'a str) -> Self {
        let plain = match name {
            "install" => Hook::Install,
            "start" => Hook::Start,
            "stop" => Hook::Stop,
            "remove" => Hook::Remove,
            "config-changed" => Hook::ConfigChanged,
            "update-status" => Hook::UpdateStatus,
            "upgrade-charm" => Hook::UpgradeCharm,
            "leader-elected" => Hook::LeaderElected,
            "secret-changed" => return Self::Secret(SecretChange::Changed),
            "secret-expired" => return Self::Secret(SecretChange::Expired),
            "secret-remove" => return Self::Secret(SecretChange::Remove),
            "secret-rotate" => return Self::Secret(SecretChange::Rotate),
            _ => return Self::of_a_thing(name),
        };
        Self::Plain(plain)
    }

    /// Hooks whose names begin with the thing that they are about.
    fn of_a_thing(name: &'a str) -> Self {
        type Suffix = (&'static str, for<'b> fn(&'b str) -> HookName<'b>);
        const SUFFIXES: &[Suffix] = &[
            ("-relation-created", |thing| HookName::Relation(thing, RelationChange::Created)),
            ("-relation-joined", |thing| HookName::Relation(thing, RelationChange::Joined)),
            ("-relation-changed", |thing| HookName::Relation(thing, RelationChange::Changed)),
            ("-relation-departed", |thing| HookName::Relation(thing, RelationChange::Departed)),
            ("-relation-broken", |thing| HookName::Relation(thing, RelationChange::Broken)),
            ("-pebble-ready", |thing| HookName::PebbleReady(thing)),
            ("-pebble-custom-notice", |thing| HookName::PebbleCustomNotice(thing)),
            ("-pebble-check-failed", |thing| HookName::PebbleCheckFailed(thing)),
            ("-pebble-check-recovered", |thing| HookName::PebbleCheckRecovered(thing)),
            ("-storage-attached", |thing| HookName::Storage(thing, StorageChange::Attached)),
            ("-storage-detaching", |thing| HookName::Storage(thing, StorageChange::Detaching)),
        ];
        for (suffix, of) in SUFFIXES {
            if let Some(thing) = name.strip_suffix(suffix)
                && !thing.is_empty()
            {
                return of(thing);
            }
        }
        Self::Plain(Hook::Other(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hook_names() {
        let check =
            |name: &str, expected: HookName<'_>| assert_eq!(HookName::parse(name), expected, "{name}");
        check("install", HookName::Plain(Hook::Install));
        check(
            "parca-store-endpoint-relation-changed",
            HookName::Relation("parca-store-endpoint", RelationChange::Changed),
        );
        check("a-relation-relation-broken", HookName::Relation("a-relation", RelationChange::Broken));
        check("nginx-prometheus-exporter-pebble-ready", HookName::PebbleReady("nginx-prometheus-exporter"));
        check("profiles-storage-detaching", HookName::Storage("profiles", StorageChange::Detaching));
        check("secret-changed", HookName::Secret(SecretChange::Changed));
        check("-relation-joined", HookName::Plain(Hook::Other("-relation-joined".to_owned())));
        check("leader-settings-changed", HookName::Plain(Hook::Other("leader-settings-changed".to_owned())));
    }
}
