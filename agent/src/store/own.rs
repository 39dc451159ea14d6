//! A push to the agent itself: answered in the commit that stores it.

use std::sync::Arc;

use agent_core::push::NewPush;
use agent_core::queue::{Effect, Known, OwnAnswer, Turn};

use super::writer::Writer;
use super::{Lines, Own};

impl<L: Lines> Writer<L> {
    /// Carried out also while new pushes are refused: nobody may be at the box. On a disk that is full, who only looks
    /// must not use up what is left for commands.
    pub(super) fn own(
        &mut self,
        push: Arc<NewPush>,
        own: Own,
        turn: &mut Turn,
    ) -> rusqlite::Result<()> {
        let known = self.known(&push, turn.now)?;
        let answer = match own {
            // A repeated callback is the same command: it is not carried out twice.
            _ if matches!(known, Known::Callback(_)) => OwnAnswer::empty(),
            Own::Does(command, word) => word(&self.command(&command, turn)?),
            Own::Said(answer) => {
                if let Some(why) = self.space.full() {
                    let why = why.to_owned();
                    let refused = push.reply_to().map(|to| Effect::Refused { to, why });
                    turn.effects.extend(refused);
                    return Ok(());
                }
                answer
            }
        };
        self.queue.accept_own(push, &known, answer, turn);
        Ok(())
    }
}
