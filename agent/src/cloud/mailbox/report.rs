//! Writing on a Task: the claim, and what became of its push, in the cloud's words and in people's.

use agent_core::mailbox::{Detail, Report, Status, Task, TaskId, Trouble, Version};
use agent_core::push::{PushId, State};
use agent_core::retry::AskedWait;

use super::Shared;
use super::requests::{Access, unknown};
use super::resource::{self, Form, Words};
use crate::store::Standing;

impl Shared {
    /// Requested to accepted, with our mark.
    pub(super) async fn claim(
        &self,
        access: &Access,
        id: &TaskId,
        version: &Version,
        push: PushId,
    ) -> Result<Task, Trouble> {
        let words = Words {
            status: Status::Accepted,
            state: format!("push {push}: claimed"),
            reason: None,
            answer: None,
        };
        let mark = resource::mark(&access.agent, push, version);
        self.write(access, (id, version), &words, Some(&mark)).await
    }

    pub(super) async fn report(&self, access: &Access, report: &Report) -> Result<Task, Trouble> {
        let Some((push, version)) = &report.push else {
            let words = Words {
                status: report.status,
                state: "refused".into(),
                reason: report.why.clone(),
                answer: None,
            };
            let at = (&report.task, &report.version);
            return self.write(access, at, &words, None).await;
        };
        let standing = self.store.standing(*push).await;
        let standing = standing.map_err(|error| unknown(error.to_string(), AskedWait::Nothing))?;
        let words = words(report, *push, standing.as_ref());
        let mark = resource::mark(&access.agent, *push, version);
        let at = (&report.task, &report.version);
        self.write(access, at, &words, Some(&mark)).await
    }

    async fn write(
        &self,
        access: &Access,
        (id, version): (&TaskId, &Version),
        words: &Words,
        mark: Option<&str>,
    ) -> Result<Task, Trouble> {
        let form = self.form(access, id, version).await?;
        let patch = form.patch(words, mark);
        let limit = self.limit();
        let written = access.patch(&id.0, &version.0, &patch, limit).await?;
        self.note(&written, access)
    }

    /// How this version of the Task is written on.
    async fn form(&self, access: &Access, id: &TaskId, version: &Version) -> Result<Form, Trouble> {
        let known = self.forms().get(id).cloned();
        if let Some(form) = known.filter(|form| form.version == *version) {
            return Ok(form);
        }
        let value = access.resource("Task", &id.0, self.limit()).await?;
        self.note(&value, access)?;
        Form::of(&value)
            .filter(|form| form.version == *version)
            .ok_or(Trouble::Conflict)
    }
}

/// What is said of a push.
fn words(report: &Report, push: PushId, standing: Option<&Standing>) -> Words {
    let Some(standing) = standing else {
        return Words {
            status: report.status,
            state: format!("push {push}: not known here"),
            reason: Some(LOST.into()),
            answer: None,
        };
    };
    let state = match standing.level {
        Some(level) if standing.state == State::Delivered => {
            format!("push {push}: {} ({})", standing.state.word(), level.word())
        }
        _ => format!("push {push}: {}", standing.state.word()),
    };
    let why = match report.status {
        Status::Rejected => Some("the device refused it; its words are in the output".to_owned()),
        Status::OnHold | Status::Failed | Status::Cancelled => standing.reason.clone(),
        _ => None,
    };
    let reasons: Vec<String> = [report.why.clone(), why].into_iter().flatten().collect();
    let answer = standing.words.clone().filter(|words| {
        let told = report.status.is_final() && report.detail == Detail::Full;
        told && !words.0.is_empty() && words.0.len() <= LONGEST_ANSWER
    });
    Words {
        status: report.status,
        state,
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
        answer: answer.map(|words| agent_core::phi::Phi(words.0.to_string())),
    }
}

/// A Medplum server takes 1 MiB of JSON; escaped, an answer may become six times as long.
const LONGEST_ANSWER: usize = 128 * 1024;
const LOST: &str = "this agent has claimed it and has no record of it any more: nobody knows whether the device has it; \
                    look at the device, then complete or cancel this Task, or request it anew";
