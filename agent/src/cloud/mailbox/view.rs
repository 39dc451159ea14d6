//! How the mailbox is, for the status page and the log.

use agent_core::mailbox::{Mailbox, Summary};
use agent_core::push::{Mono, Timestamp};
use serde::Serialize;
use tracing::{debug, warn};

use super::Mode;
use crate::clock;
use crate::snapshot::Board;

/// What the status page says of the mailbox.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct MailboxView {
    pub on: bool,
    /// When the cloud was searched last with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_search: Option<String>,
    /// What went wrong last, and when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Found and not claimed yet, as far as they were looked at.
    pub waiting: usize,
    /// Claimed and not over.
    pub open: usize,
    pub on_hold: usize,
    /// Over, and the cloud has not been told yet.
    pub untold: usize,
    /// Left alone, and why; some of them.
    pub aside: Vec<String>,
}

/// What is shown, and what was logged lately.
pub(super) struct View {
    board: Board,
    mode: Mode,
    searched: Option<Timestamp>,
    error: Option<(Timestamp, String)>,
    shown: MailboxView,
    logged: Option<(String, Mono)>,
}

impl View {
    pub(super) fn new(board: Board) -> Self {
        Self {
            board,
            mode: Mode::Off,
            searched: None,
            error: None,
            shown: MailboxView::default(),
            logged: None,
        }
    }

    pub(super) fn mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    pub(super) fn searched(&mut self) {
        self.searched = Some(clock::utc());
    }

    /// The same trouble is logged once in a while.
    pub(super) fn trouble(&mut self, why: String) {
        let now = clock::mono();
        let known = self
            .logged
            .as_ref()
            .is_some_and(|(last, until)| *last == why && now < *until);
        if known {
            debug!(why, "mailbox");
        } else {
            warn!(why, "mailbox");
            self.logged = Some((why.clone(), now.plus(QUIET)));
        }
        self.error = Some((clock::utc(), why));
    }

    pub(super) fn show(&mut self, machine: &Mailbox) {
        let Summary {
            waiting,
            open,
            on_hold,
            untold,
            aside,
        } = machine.summary();
        let aside = aside.into_iter().map(|(id, why)| format!("{id}: {why}"));
        let error = self.error.as_ref();
        let shown = MailboxView {
            on: self.mode == Mode::On,
            last_search: self.searched.map(clock::rfc3339),
            last_error: error.map(|(at, why)| format!("{}: {why}", clock::rfc3339(*at))),
            waiting,
            open,
            on_hold,
            untold,
            aside: aside.collect(),
        };
        if shown != self.shown {
            self.shown = shown.clone();
            self.board.mailbox(shown);
        }
    }
}

/// How long a trouble that goes on is not logged again.
const QUIET: std::time::Duration = std::time::Duration::from_mins(10);
