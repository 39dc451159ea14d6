//! What is asked of the server for the mailbox, and what its answers mean.

use std::time::Duration;

use agent_core::mailbox::{Page, Trouble, Which};
use agent_core::retry::AskedWait;
use hyper::Method;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::resource;
use crate::cloud::http::{Call, HttpAnswer, HttpClient, HttpError};
use crate::cloud::{beneath, told};

/// The way to the server while a session is alive.
#[derive(Clone, Debug)]
pub struct Access {
    pub http: HttpClient,
    pub base: Url,
    /// `Agent.id`.
    pub agent: String,
    pub token: SecretString,
}

/// Which other agents this client sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Company {
    Nobody,
    Others,
    /// It may not look.
    Unseen,
}

/// A Binary as it came.
pub(super) struct Binary {
    pub(super) content_type: String,
    pub(super) bytes: Vec<u8>,
}

impl Access {
    /// One page of Tasks, in the order of being written and then of ids.
    pub(super) async fn search(
        &self,
        which: Which,
        offset: usize,
        count: usize,
    ) -> Result<Page, Trouble> {
        let status = match which {
            Which::Requested => "requested",
            Which::Ours => "accepted,in-progress,on-hold,received,ready,draft",
        };
        let (offset, count) = (offset.to_string(), count.to_string());
        let mut url = beneath(&self.base, &["fhir", "R4", "Task"]);
        url.query_pairs_mut().extend_pairs([
            ("code", resource::CODE),
            ("status", status),
            ("_sort", "authored-on,_id"),
            ("_count", &count),
            ("_offset", &offset),
        ]);
        let bundle = self.json(self.get(&url, PAGE_LIMIT)).await?;
        let entries = bundle["entry"].as_array().into_iter().flatten();
        let tasks = entries.filter_map(|entry| resource::task(&entry["resource"], &self.agent));
        let links = bundle["link"].as_array().into_iter().flatten();
        if bundle["resourceType"] != "Bundle" {
            return Err(unknown(NO_FHIR.into(), AskedWait::Nothing));
        }
        Ok(Page {
            tasks: tasks.collect(),
            more: links.into_iter().any(|link| link["relation"] == "next"),
        })
    }

    /// A resource as it is now.
    pub(super) async fn resource(
        &self,
        kind: &str,
        id: &str,
        limit: usize,
    ) -> Result<Value, Trouble> {
        let url = beneath(&self.base, &["fhir", "R4", kind, id]);
        let found = self.json(self.get(&url, limit)).await?;
        if found["resourceType"] == kind {
            Ok(found)
        } else {
            Err(unknown(NO_FHIR.into(), AskedWait::Nothing))
        }
    }

    pub(super) async fn binary(&self, id: &str, limit: usize) -> Result<Binary, Trouble> {
        let url = beneath(&self.base, &["fhir", "R4", "Binary", id]);
        let answer = self.fine(self.get(&url, limit)).await?;
        Ok(Binary {
            content_type: answer.content_type,
            bytes: answer.body,
        })
    }

    /// Writes on a Task, if it still has this version. Gives the Task as it is then.
    pub(super) async fn patch(
        &self,
        task: &str,
        version: &str,
        patch: &Value,
        limit: usize,
    ) -> Result<Value, Trouble> {
        let url = beneath(&self.base, &["fhir", "R4", "Task", task]);
        let call = Call {
            method: Method::PATCH,
            url: &url,
            token: &self.token,
            body: Some(("application/json-patch+json", patch.to_string())),
            if_match: Some(version),
            limit,
        };
        self.json(call).await
    }

    /// Whether this client sees other agents beside itself.
    pub(super) async fn company(&self) -> Result<Company, Trouble> {
        let mut url = beneath(&self.base, &["fhir", "R4", "Agent"]);
        url.query_pairs_mut().append_pair("_count", "2");
        let bundle = match self.http.call(self.get(&url, PAGE_LIMIT)).await {
            Ok(answer) if answer.status == 403 => return Ok(Company::Unseen),
            Ok(answer) => read_json(&judge(answer)?)?,
            Err(error) => return Err(unknown(told(&error), AskedWait::Nothing)),
        };
        let entries = bundle["entry"].as_array().into_iter().flatten();
        let mut ids = entries.map(|entry| &entry["resource"]["id"]);
        Ok(if ids.all(|id| *id == self.agent.as_str()) {
            Company::Nobody
        } else {
            Company::Others
        })
    }

    fn get<'a>(&'a self, url: &'a Url, limit: usize) -> Call<'a> {
        Call {
            method: Method::GET,
            url,
            token: &self.token,
            body: None,
            if_match: None,
            limit,
        }
    }

    async fn json(&self, call: Call<'_>) -> Result<Value, Trouble> {
        read_json(&self.fine(call).await?)
    }

    /// The answer, if the server did what was asked.
    async fn fine(&self, call: Call<'_>) -> Result<HttpAnswer, Trouble> {
        match self.http.call(call).await {
            Ok(answer) => judge(answer),
            Err(error @ HttpError::TooLarge { .. }) => Err(Trouble::TooLarge(told(&error))),
            Err(error) => Err(unknown(told(&error), AskedWait::Nothing)),
        }
    }
}

fn read_json(answer: &HttpAnswer) -> Result<Value, Trouble> {
    serde_json::from_slice(&answer.body).map_err(|_| unknown(NO_FHIR.into(), AskedWait::Nothing))
}

/// What a status means for the mailbox. The server's own words are not told on: they may quote what it was sent.
fn judge(answer: HttpAnswer) -> Result<HttpAnswer, Trouble> {
    let asked = answer.asked;
    let why = match answer.status {
        200 | 201 => return Ok(answer),
        404 | 410 => return Err(Trouble::Gone),
        412 => return Err(Trouble::Conflict),
        401 => TOKEN_REFUSED.into(),
        403 => "the server forbids it (HTTP 403); see the access policy of this client".into(),
        429 => "the server wants fewer requests (HTTP 429)".into(),
        status @ 300..=399 => format!(
            "the server sends us elsewhere (HTTP {status}); is a captive portal in the way?"
        ),
        status @ (400 | 413 | 422) => {
            let why = format!("the server does not take it (HTTP {status})");
            return Err(Trouble::Refused(why));
        }
        status => format!("the server cannot do it now (HTTP {status})"),
    };
    Err(unknown(why, asked))
}

pub(super) fn unknown(why: String, asked: AskedWait) -> Trouble {
    Trouble::Unknown(why, asked)
}

/// What is said where the token is not taken any more.
pub(super) const TOKEN_REFUSED: &str = "the server does not take our token any more (HTTP 401)";
const NO_FHIR: &str =
    "what came is no FHIR resource; is a captive portal in the way, or [cloud] url wrong?";
/// For a page of Tasks with their payloads; the pages become smaller where that is not enough.
const PAGE_LIMIT: usize = 16 << 20;
/// How long the answer to a question that seldom changes is believed.
pub(super) const BELIEVED: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> HttpAnswer {
        HttpAnswer {
            status,
            location: None,
            content_type: String::new(),
            asked: AskedWait::For(Duration::from_secs(7)),
            date: None,
            body: Vec::new(),
        }
    }

    #[test]
    fn every_status_says_whether_it_may_have_been_done() {
        assert!(judge(answer(200)).is_ok());
        assert_eq!(judge(answer(412)).unwrap_err(), Trouble::Conflict);
        assert_eq!(judge(answer(410)).unwrap_err(), Trouble::Gone);
        assert!(matches!(judge(answer(422)), Err(Trouble::Refused(_))));
        for status in [302, 401, 403, 429, 500, 503] {
            let Err(Trouble::Unknown(why, asked)) = judge(answer(status)) else {
                unreachable!("{status} says nothing of what was done");
            };
            assert!(why.contains(&status.to_string()), "{why}");
            assert_eq!(asked, AskedWait::For(Duration::from_secs(7)));
        }
    }
}
