//! Is this push one that came before? The queue names suspects by their prints; their rows decide.

use agent_core::push::{NewPush, Now, PushId, State, Timestamp};
use agent_core::queue::{Earlier, Filter, Known, Queue, WaitingPush};
use rusqlite::{OptionalExtension, params};

use super::parcel::{parcel, parcel_of};
use super::writer::Writer;
use super::{Lines, load};

impl<L: Lines> Writer<L> {
    /// Compares a push with what it may repeat.
    pub(super) fn known(&mut self, push: &NewPush, now: Now) -> rusqlite::Result<Known> {
        let suspects = self.queue.suspects(push);
        if let Some(callback) = &push.callback {
            for id in suspects.callback {
                if self.callback_is(id, &callback.text)? {
                    return Ok(Known::Callback(id));
                }
            }
        }
        if suspects.keys.is_empty() {
            return Ok(Known::No);
        }
        let mut newest = Vec::with_capacity(suspects.keys.len());
        for (key, found) in push.order_keys.iter().zip(suspects.keys) {
            newest.push(self.newest_of(push, key, found)?);
        }
        if let Some(id) = self.queue.may_join(push, &newest, now)
            && self.is_same(push, id)?
        {
            self.warm(id)?;
            return Ok(Known::Content(id));
        }
        Ok(Queue::after(push, newest))
    }

    fn callback_is(&self, push: PushId, callback: &str) -> rusqlite::Result<bool> {
        let same = self
            .connection
            .prepare_cached("SELECT callback FROM push WHERE id = ?1")?
            .query_row(params![push.0], |row| {
                Ok(row.get_ref(0)?.as_str_or_null()? == Some(callback))
            })
            .optional()?;
        Ok(same == Some(true))
    }

    /// The newest of those found that has this very order key. A joiner stands in no order.
    fn newest_of(
        &self,
        push: &NewPush,
        key: &str,
        found: Vec<PushId>,
    ) -> rusqlite::Result<Option<Earlier>> {
        let mut rows = self.connection.prepare_cached(
            "SELECT order_key, content_hash FROM push
             WHERE id = ?1 AND device = ?2 AND joins IS NULL",
        )?;
        for id in found {
            let earlier = rows
                .query_row(params![id.0, push.device.0], |row| {
                    let keys = row.get_ref(0)?.as_str_or_null()?;
                    let same = keys.is_some_and(|keys| keys.lines().any(|other| other == key));
                    let earlier = same.then(|| Earlier {
                        id,
                        keys: load::prints_of(keys),
                        content: None,
                        last: None,
                    });
                    Ok(earlier.zip(Some(load::print(row.get(1)?))))
                })
                .optional()?;
            if let Some((earlier, content)) = earlier.flatten() {
                let last = self.last_state(id)?;
                return Ok(Some(Earlier {
                    content,
                    last,
                    ..earlier
                }));
            }
        }
        Ok(None)
    }

    fn last_state(&self, push: PushId) -> rusqlite::Result<Option<(State, Timestamp)>> {
        let last = self
            .connection
            .prepare_cached(
                "SELECT state, at FROM event WHERE push = ?1 AND state NOT NULL
                 ORDER BY seq DESC LIMIT 1",
            )?
            .query_row(params![push.0], |row| {
                Ok((State::from_number(row.get(0)?), Timestamp(row.get(1)?)))
            })
            .optional()?;
        Ok(last.and_then(|(state, at)| Some((state?, at))))
    }

    fn is_same(&self, push: &NewPush, earlier: PushId) -> rusqlite::Result<bool> {
        let digest = self.wiring.join_digest;
        let own = digest(&parcel_of(push));
        let earlier = parcel(&self.connection, earlier)?;
        Ok(own.is_some() && earlier.is_some_and(|earlier| own == digest(&earlier)))
    }

    /// Has the queue know all of a push that is named, before it decides on it.
    pub(super) fn warm(&mut self, push: PushId) -> rusqlite::Result<()> {
        if self.queue.is_cold(push) {
            let row = load::cold_row(&self.connection, push)?;
            self.queue.warm(row);
        }
        Ok(())
    }

    pub(super) fn list(
        &self,
        filter: Filter,
        limit: usize,
        now: Now,
    ) -> rusqlite::Result<Vec<WaitingPush>> {
        let ids = self.queue.list(filter, limit).into_iter();
        let found = ids.map(|id| self.waiting(id, now));
        found.filter_map(Result::transpose).collect()
    }

    pub(super) fn waiting(&self, push: PushId, now: Now) -> rusqlite::Result<Option<WaitingPush>> {
        if !self.queue.is_cold(push) {
            return Ok(self.queue.waiting_push(push, now));
        }
        let row = load::cold_row(&self.connection, push)?;
        Ok(self.queue.waiting_cold(&row, now))
    }
}
