//! What only wants to know something. It is answered when the rest of its batch is durable and handed out, and also where
//! the batch came to nothing: whoever asks must not take a disk that is full for a store that has ended.

use agent_core::push::PushId;
use agent_core::queue::{Filter, QueueReport, WaitingPush};
use tokio::sync::oneshot;

use super::database::sql;
use super::writer::Writer;
use super::{Lines, StoreError};

pub(super) enum Question {
    /// Answered when everything before it is durable and handed out.
    Barrier(oneshot::Sender<()>),
    Report(oneshot::Sender<QueueReport>),
    List(Filter, usize, oneshot::Sender<Vec<WaitingPush>>),
    Explain(PushId, oneshot::Sender<Option<WaitingPush>>),
}

impl<L: Lines> Writer<L> {
    pub(super) fn answer_all(&mut self, questions: Vec<Question>) -> Result<(), StoreError> {
        questions
            .into_iter()
            .try_for_each(|question| self.answer_one(question))
            .map_err(sql("read what was asked for"))
    }

    fn answer_one(&mut self, question: Question) -> rusqlite::Result<()> {
        match question {
            Question::Barrier(reply) => tell(reply, ()),
            Question::Report(reply) => tell(reply, self.queue.report()),
            Question::List(filter, limit, reply) => {
                let now = self.now();
                tell(reply, self.list(filter, limit, now)?);
            }
            Question::Explain(push, reply) => {
                let now = self.now();
                tell(reply, self.waiting(push, now)?);
            }
        }
        Ok(())
    }
}

/// Whoever asked may have gone away; that changes nothing here.
fn tell<T>(reply: oneshot::Sender<T>, answer: T) {
    drop(reply.send(answer));
}
