//! What a line needs to send a push: kept in memory for a moment, read from disk when due.

use std::collections::HashMap;

use agent_core::phi::Phi;
use agent_core::push::{DeviceNo, NewPush, PushId};
use agent_core::queue::{Kind, Queue, Row};
use rusqlite::{Connection, OptionalExtension, params};

use super::Parcel;

/// Parcels of pushes that were accepted a moment ago, up to [`CACHE_BYTES`] of bodies.
#[derive(Default)]
pub(super) struct Cache {
    parcels: HashMap<PushId, Parcel>,
    bytes: usize,
}

impl Cache {
    /// Follows what is written: a push that waits may be sent in a moment, one that has ended is not.
    pub(super) fn follow(&mut self, row: &Row, queue: &Queue) {
        match row {
            Row::Push(row) if queue.is_hot(row.id) => {
                self.keep(row.id, &row.push, row.joins.is_some());
            }
            Row::Event(row) if row.kind == Kind::Settled => drop(self.take(row.push)),
            _ => {}
        }
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn keep(&mut self, id: PushId, push: &NewPush, joined: bool) {
        if joined || push.device == DeviceNo::SELF || self.bytes + push.body.0.len() > CACHE_BYTES {
            return;
        }
        self.bytes += push.body.0.len();
        self.parcels.insert(id, parcel_of(push));
    }

    pub(super) fn take(&mut self, id: PushId) -> Option<Parcel> {
        let parcel = self.parcels.remove(&id)?;
        self.bytes -= parcel.body.0.len();
        Some(parcel)
    }

    /// A push that ended without having been sent, or that waits for longer, leaves its body here.
    pub(super) fn forget_if_gone(&mut self, id: PushId, queue: &Queue) {
        if !queue.is_hot(id) {
            drop(self.take(id));
        }
    }
}

pub(super) fn parcel_of(push: &NewPush) -> Parcel {
    Parcel {
        content_type: push.content_type.clone(),
        remote: Some(push.remote.clone()),
        return_ack: push.return_ack,
        body: Phi(push.body.0.as_str().into()),
    }
}

pub(super) fn parcel(connection: &Connection, id: PushId) -> rusqlite::Result<Option<Parcel>> {
    connection
        .prepare_cached(
            "SELECT content_type, remote, return_ack, body FROM push
             WHERE id = ?1 AND body NOT NULL",
        )?
        .query_row(params![id.0.cast_signed()], |row| {
            let ack: Option<i64> = row.get(2)?;
            Ok(Parcel {
                content_type: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                remote: row.get(1)?,
                return_ack: ack.and_then(agent_core::push::ReturnAck::from_number),
                body: Phi(String::from_utf8_lossy(row.get_ref(3)?.as_blob()?).into()),
            })
        })
        .optional()
}

/// Bodies kept in memory for pushes that wait; the rest is read again when due.
const CACHE_BYTES: usize = 8 << 20;
