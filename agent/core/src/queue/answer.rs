//! The one answer of a callback, and the 202 of whoever has waited long enough.

use super::rows::{Answer, Effect, EventRow, Kind, Told, Turn};
use super::{Queue, Session, TICK_LIMIT};
use crate::mutant::{self, Mutant};
use crate::push::PushId;

impl Queue {
    pub(super) fn answer_overdue(&mut self, turn: &mut Turn) {
        if self.session == Session::Down {
            return;
        }
        let due: Vec<PushId> = self
            .answer_due
            .iter()
            .take_while(|(at, _)| *at <= turn.now.mono)
            .take(TICK_LIMIT)
            .map(|(_, id)| *id)
            .collect();
        for id in due {
            self.answer_queued(id, turn);
        }
    }

    /// Tells a caller who has waited long enough that the push is kept.
    fn answer_queued(&mut self, id: PushId, turn: &mut Turn) {
        let (Some(reason), Some(live)) = (self.reason(id, turn.now), self.live.get(&id)) else {
            self.answer_due.retain(|(_, due)| *due != id);
            return;
        };
        let device = live.device;
        let text = format!("queued: {reason}; push {id} is kept and goes on without you");
        let mut row = self.event(id, device, Kind::Answered, turn.now);
        row.reason = Some(reason.to_string());
        self.answer(&mut row, 202, Told::Sentence(text), turn);
        self.record(row, turn);
        self.cool(id);
    }

    /// Makes `row` the answer to its push's callback, if one still waits.
    pub(super) fn answer(&mut self, row: &mut EventRow, status: u16, told: Told, out: &mut Turn) {
        row.answer = told.clone();
        let Some(live) = self.live.get_mut(&row.push) else {
            return;
        };
        let Some(to) = live.reply_to.take() else {
            return;
        };
        if mutant::is(Mutant::AnswerTwice) && status == 202 {
            live.reply_to = Some(to.clone());
        }
        self.answer_due.remove(&(live.answer_by, row.push));
        self.changes.mark(row.push);
        row.status = Some(status);
        let prev = std::mem::replace(&mut self.last_answer, row.seq);
        let answer = Answer {
            seq: row.seq,
            prev,
            push: row.push,
            to: *to,
            status,
            told,
        };
        out.effects.push(Effect::Answer(answer));
    }
}
