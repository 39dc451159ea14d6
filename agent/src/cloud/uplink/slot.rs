//! A place for one piece of work that the uplink's task has under way beside everything else.

use std::future::{Future, pending};
use std::pin::Pin;

/// Holds at most one future; a new one drops the old one.
pub(super) struct Slot<T>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T> Slot<T> {
    pub(super) fn empty() -> Self {
        Self(None)
    }

    pub(super) fn start(&mut self, work: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(work));
    }

    pub(super) fn clear(&mut self) {
        self.0 = None;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Waits for the work to be done, for ever if there is none. May be dropped and called again.
    pub(super) async fn done(&mut self) -> T {
        let Some(work) = &mut self.0 else {
            return pending().await;
        };
        let result = work.await;
        self.0 = None;
        result
    }
}
