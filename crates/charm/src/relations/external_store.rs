//! `parca_store`, requiring: everything is sent on to another store.

use parca_store::{Store, StoreConfig};

use super::Problem;
use crate::{names::EXTERNAL_STORE, world::World};

/// The other store, if one is related and has said where it is.
pub fn read(world: &World) -> Result<Option<Store>, Problem> {
    let mut relations = world.of(EXTERNAL_STORE);
    let Some(relation) = relations.next() else { return Ok(None) };
    if relations.next().is_some() {
        return Err(Problem::blocking(EXTERNAL_STORE, "related to more than one store; remove all but one"));
    }
    match StoreConfig::from_bag(&relation.remote).check() {
        Ok(Some(store)) => Ok(Some(store)),
        Ok(None) => Err(Problem::passing(EXTERNAL_STORE, "waiting for the store's address")),
        Err(error) => Err(Problem::of(&relation.id, error)),
    }
}
