//! The side that sends to a store and learns how to reach it.

use decima_base::ErrorKind;
use decima_juju::{AppName, HookContext, RelationChange, RelationEvent, RelationId, UnitName};

use crate::{
    endpoint::Endpoint,
    event::{RemoveStore, StoreEndpointsChanged, StoreEvent},
    model::Model,
    provider::relations,
    seed_compat::{observe, remote_app},
    store_config::StoreConfig,
};

/// A requirer could not read what the other side hands out.
#[derive(Debug, thiserror::Error)]
pub enum RequirerError<E: std::error::Error + 'static> {
    /// Juju refused a question.
    #[error("cannot read the model")]
    Model(#[source] E),
    /// Juju does not say which application is on the other side.
    #[error("relation {relation} has no application on the other side")]
    NoApp {
        /// Which one.
        relation: RelationId,
    },
    /// There is more than one store, and no way to choose.
    #[error("Too many remote applications on {endpoint} ({count} > 1)")]
    TooMany {
        /// The endpoint.
        endpoint: Endpoint,
        /// How many.
        count: usize,
    },
}

impl<E: std::error::Error + 'static> RequirerError<E> {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Model(_) => ErrorKind::Unavailable,
            Self::NoApp { .. } => ErrorKind::NotFound,
            Self::TooMany { .. } => ErrorKind::Conflict,
        }
    }
}

/// When a store counts as removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removal {
    /// When nobody is left on the other side.
    LastUnit,
    /// Whenever a unit departs, as the relation's first library has it.
    EveryUnit,
}

/// Learns over a relation how to reach a store.
///
/// It writes nothing, and works on followers. Call [`handle`](Self::handle) at every hook for the events, or
/// [`config`](Self::config) from any hook for what holds now.
///
/// ```
/// use decima_juju::HookTools;
/// use parca_store::{HookContext, ParcaStoreEndpointRequirer, StoreConfig, StoreEvent};
///
/// # fn configure(_: Option<&StoreConfig>) {}
/// fn main_of_the_charm() -> Result<(), Box<dyn std::error::Error>> {
///     let context = HookContext::from_env()?;
///     let store = ParcaStoreEndpointRequirer::new("external-parca-store-endpoint".parse()?);
///     match store.handle(&context, &HookTools::from_path())? {
///         Some(StoreEvent::StoreEndpointsChanged(event)) => configure(Some(&event.store_config)),
///         Some(StoreEvent::RemoveStore(_)) => configure(None),
///         None => {}
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ParcaStoreEndpointRequirer {
    endpoint: Endpoint,
    removal: Removal,
}

impl ParcaStoreEndpointRequirer {
    /// A requirer on an endpoint of the charm's metadata.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, removal: Removal::LastUnit }
    }

    /// A requirer that does exactly what the relation's first library does: it tells a removal for every unit that departs.
    pub fn seed_compat(endpoint: Endpoint) -> Self {
        Self { endpoint, removal: Removal::EveryUnit }
    }

    /// The event for the charm that this hook amounts to, if any.
    ///
    /// A change of the other side is told with what its databag holds, even if that is nothing. A removal is told once:
    /// when the last unit of the other side is gone, be it that it left or that this unit does (Juju then takes leave of
    /// one unit of the other side after another).
    pub fn handle<M: Model>(
        &self,
        context: &HookContext,
        model: &M,
    ) -> Result<Option<StoreEvent>, RequirerError<M::Error>> {
        let Some(event) = context.relation_event().filter(|event| self.endpoint.has(&event.relation)) else {
            return Ok(None);
        };
        if self.removal == Removal::EveryUnit {
            observe(event, context, model, &self.endpoint).map_err(RequirerError::Model)?;
        }
        let relation_id = event.relation.number();
        match event.change {
            RelationChange::Changed => {
                let store_config = self.read(context, model, &event.relation)?;
                Ok(Some(StoreEvent::StoreEndpointsChanged(StoreEndpointsChanged {
                    relation_id,
                    store_config,
                })))
            }
            RelationChange::Departed if self.is_removed(event, context, model)? => {
                Ok(Some(StoreEvent::RemoveStore(RemoveStore { relation_id })))
            }
            _ => Ok(None),
        }
    }

    /// What is handed out now; `None` without a relation. An error with more than one.
    pub fn config<M: Model>(
        &self,
        context: &HookContext,
        model: &M,
    ) -> Result<Option<StoreConfig>, RequirerError<M::Error>> {
        let relations = relations(context, model, &self.endpoint).map_err(RequirerError::Model)?;
        match relations.as_slice() {
            [] => Ok(None),
            [relation] => self.read(context, model, relation).map(Some),
            more => Err(RequirerError::TooMany { endpoint: self.endpoint.clone(), count: more.len() }),
        }
    }

    fn read<M: Model>(
        &self,
        context: &HookContext,
        model: &M,
        relation: &RelationId,
    ) -> Result<StoreConfig, RequirerError<M::Error>> {
        let app: Option<AppName> = remote_app(context, model, relation).map_err(RequirerError::Model)?;
        let app = app.ok_or_else(|| RequirerError::NoApp { relation: relation.clone() })?;
        let bag = model.read(relation, &app).map_err(RequirerError::Model)?;
        Ok(bag.map(|bag| StoreConfig::from_bag(&bag)).unwrap_or_default())
    }

    /// Whether a departure leaves nothing behind.
    ///
    /// If this unit leaves, Juju has one departure for each unit of the other side, in the order of their names, and none of
    /// them is marked as the last. The greatest name is the last one, and is there once in any other order as well, so
    /// that no removal is missed.
    fn is_removed<M: Model>(
        &self,
        event: &RelationEvent,
        context: &HookContext,
        model: &M,
    ) -> Result<bool, RequirerError<M::Error>> {
        if self.removal == Removal::EveryUnit {
            return Ok(true);
        }
        let units = model.remote_units(&event.relation).map_err(RequirerError::Model)?.unwrap_or_default();
        let mut left = units.iter().filter(|unit| event.remote_unit.as_ref() != Some(*unit));
        if event.departing_unit.as_ref() != Some(&context.unit) {
            return Ok(left.next().is_none());
        }
        let departed = event.remote_unit.as_ref().map(UnitName::to_string).unwrap_or_default();
        // As texts: Juju sorts `agent/10` before `agent/2`.
        Ok(left.all(|unit| unit.to_string() < departed))
    }
}
