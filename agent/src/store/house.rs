//! What the writer does of itself after each batch: the log back into the database, a look at the disk, a step of the
//! sweep. None of it is anybody's request, so none of it shares a commit with one.

use std::sync::Arc;
use std::time::Duration;

use agent_core::push::NewPush;
use agent_core::queue::{Effect, Known, Turn};
use tracing::warn;

use super::database::sql;
use super::fault::{Fault, fault};
use super::wal::{Checkpoint, checkpoint};
use super::writer::Writer;
use super::{Lines, StoreError};
use crate::clock;

impl<L: Lines> Writer<L> {
    pub(super) fn keep_house(&mut self) -> Result<(), StoreError> {
        self.shorten_log()?;
        self.space
            .look(&self.connection, clock::mono())
            .map_err(sql("measure the database"))?;
        self.sweep()
    }

    /// A push that is not a repetition is taken only while there is room for it.
    pub(super) fn admit(
        &mut self,
        push: Arc<NewPush>,
        known: Known,
        turn: &mut Turn,
    ) -> rusqlite::Result<()> {
        let refusal = match &known {
            Known::Callback(_) => None,
            Known::No | Known::Content(_) | Known::After(_) => {
                let bytes = push.body.0.len();
                self.space.refusal(bytes, &self.connection, turn.now.mono)?
            }
        };
        match (refusal, push.reply_to()) {
            (None, _) => self.queue.accept(push, known, turn),
            (Some(why), to) => {
                let refused = to.map(|to| Effect::Refused { to, why });
                turn.effects.extend(refused);
                if let Known::Content(earlier) = known {
                    self.queue.cool(earlier);
                }
            }
        }
        Ok(())
    }

    fn shorten_log(&mut self) -> Result<(), StoreError> {
        let now = clock::mono();
        if !self.wal.is_long(now) {
            return Ok(());
        }
        match checkpoint(&self.connection, Checkpoint::Passive) {
            Ok(_) => Ok(()),
            Err(error) if fault(&error) == Fault::Broken => {
                Err(sql("bring the log into the database")(error))
            }
            Err(error) => {
                // Nothing is lost: the log grows until there is room for the database.
                warn!(%error, "the log could not be brought into the database");
                if fault(&error) == Fault::Full {
                    self.space.out_of_room();
                }
                self.wal.not_before = now.plus(LOG_AGAIN);
                Ok(())
            }
        }
    }
}

const LOG_AGAIN: Duration = Duration::from_secs(1);
