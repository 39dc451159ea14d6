//! The commands that ask a running agent, and change things in it.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::show;
use crate::control::client;
use crate::control::verbs::{Outcome, Verb};

/// Flags of every command that asks the agent.
#[derive(Clone, Debug, Args)]
pub struct AskArgs {
    /// The control socket; in `$RUNTIME_DIRECTORY` or `/run/wardpost` if not given.
    #[arg(long, value_name = "PATH", global = true)]
    control: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What can be asked and done.
#[derive(Clone, Debug, Subcommand)]
pub enum Question {
    /// How the agent is: cloud, devices, queue, problems.
    Status,
    /// The devices and how their lines are.
    Devices,
    /// Pushes that are not final, oldest first.
    Queue {
        #[arg(long, value_name = "NAME")]
        device: Option<String>,
        /// queued, sending or held.
        #[arg(long)]
        state: Option<String>,
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// The life of one push: what happened, why it is where it is, what to do next.
    Why { push: u64 },
    /// Look into the mailbox of the cloud at once.
    Poll {
        /// Only `mailbox`.
        target: Option<String>,
    },
    /// Read the configuration anew, all or nothing, and say what changed.
    Reload,
    /// Everything that helps somebody who helps you, as JSON: no secret, no patient. Read it, then send it.
    Diag,
    /// Keep a push from being sent.
    Hold {
        push: u64,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a held push go on.
    Release {
        push: u64,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Send the same bytes again: an uncertain push, or a final one as a new push.
    Resend {
        push: u64,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Say what became of an uncertain push.
    Settle {
        push: u64,
        outcome: Outcome,
        /// How you know.
        #[arg(long)]
        reason: String,
    },
    /// Withdraw a push that was not sent.
    Cancel {
        push: u64,
        #[arg(long)]
        reason: Option<String>,
    },
}

impl AskArgs {
    /// The control socket, as given or where the service manager puts it.
    pub fn control(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| {
            std::env::var_os("RUNTIME_DIRECTORY")
                .map_or_else(|| PathBuf::from("/run/wardpost"), PathBuf::from)
                .join("control.sock")
        })
    }
}

impl From<Question> for Verb {
    fn from(question: Question) -> Self {
        match question {
            Question::Status => Self::Status,
            Question::Devices => Self::Devices,
            Question::Queue {
                device,
                state,
                limit,
            } => Self::Queue {
                device,
                state,
                limit,
            },
            Question::Why { push } => Self::Why { push },
            Question::Reload => Self::Reload,
            Question::Poll { target } => Self::Poll { target },
            Question::Diag => Self::Diag,
            Question::Hold { push, reason } => Self::Hold { push, reason },
            Question::Release { push, reason } => Self::Release { push, reason },
            Question::Resend { push, reason } => Self::Resend { push, reason },
            Question::Settle {
                push,
                outcome,
                reason,
            } => Self::Settle {
                push,
                outcome,
                reason,
            },
            Question::Cancel { push, reason } => Self::Cancel { push, reason },
        }
    }
}

/// Asks and prints. A refusal by the agent is exit code 1 and its sentence.
pub fn run(args: &AskArgs, question: Question, out: &mut impl Write) -> Result<ExitCode> {
    let verb = Verb::from(question);
    let answer = client::ask(&args.control(), &verb)?;
    let refused = answer.get("error").and_then(Value::as_str);
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&answer)?)?;
    } else if let Some(sentence) = refused {
        for problem in show::rows(&answer, "problems") {
            writeln!(std::io::stderr(), "{}", show::plain(problem))?;
        }
        writeln!(std::io::stderr(), "wardpost: {sentence}")?;
    } else {
        show::show(&verb, &answer, out)?;
    }
    Ok(match refused {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}
