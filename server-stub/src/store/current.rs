//! The current version of every resource, in memory: what reads and searches look at.
//!
//! Only the store's thread changes it, after the commit, so nobody sees what is not on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::resources::{Effect, Written};

#[derive(Default)]
pub(crate) struct Current {
    tables: RwLock<HashMap<String, Table>>,
}

/// One resource type.
#[derive(Default)]
struct Table {
    /// By order of first writing.
    rows: BTreeMap<u64, Arc<Value>>,
    places: HashMap<String, Place>,
    born: u64,
}

#[derive(Clone, Copy)]
enum Place {
    At(u64),
    Gone,
}

/// Why there is nothing to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Missing {
    NotFound,
    Gone,
}

impl Current {
    pub(crate) fn read(&self, kind: &str, id: &str) -> Result<Arc<Value>, Missing> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let table = tables.get(kind).ok_or(Missing::NotFound)?;
        match table.places.get(id) {
            Some(Place::At(born)) => table.rows.get(born).cloned().ok_or(Missing::NotFound),
            Some(Place::Gone) => Err(Missing::Gone),
            None => Err(Missing::NotFound),
        }
    }

    /// Every resource of a type that fits, oldest first.
    pub(crate) fn find(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Vec<Arc<Value>> {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let rows = tables
            .get(kind)
            .into_iter()
            .flat_map(|table| table.rows.values());
        rows.filter(|resource| fits(resource)).cloned().collect()
    }

    pub(super) fn apply(&self, written: Written) {
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        let table = tables.entry(written.name.kind).or_default();
        if written.effect == Effect::Deleted {
            table.remove(written.name.id);
        } else {
            table.put(written.name.id, written.resource);
        }
    }
}

impl Table {
    fn put(&mut self, id: String, resource: Arc<Value>) {
        let born = match self.places.get(&id) {
            Some(Place::At(born)) => *born,
            Some(Place::Gone) | None => {
                self.born += 1;
                self.places.insert(id, Place::At(self.born));
                self.born
            }
        };
        self.rows.insert(born, resource);
    }

    fn remove(&mut self, id: String) {
        if let Some(Place::At(born)) = self.places.insert(id, Place::Gone) {
            self.rows.remove(&born);
        }
    }
}
