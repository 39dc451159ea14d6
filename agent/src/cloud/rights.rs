//! What the agent's client may do in the cloud, tried without changing anything there.
//!
//! | right | tried by |
//! | --- | --- |
//! | search | `GET Type?_count=1` |
//! | read | `GET Type/ID` with an id that nothing has |
//! | update | `PUT Type/ID` with such an id |
//!
//! A Medplum server looks at the access policy before it looks for the resource. So an id that nothing has is answered 404
//! where the right is there, and 403 where it is not.

use agent_core::clock::CloudTime;
use secrecy::SecretString;
use serde_json::{Value, json};
use url::Url;

use super::http::{HttpAnswer, HttpClient, HttpError};
use super::{beneath, headers, quoted};
use crate::clock;

/// One thing that the agent has to be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Right {
    pub kind: &'static str,
    pub interaction: Interaction,
    /// What it is needed for.
    pub needed: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Interaction {
    Read,
    Search,
    Update,
}

/// What came of trying a right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judged {
    Held,
    Lacking {
        status: u16,
    },
    /// The server cannot say now.
    Unknown {
        why: String,
    },
}

/// The agent's own resource, as far as a look needs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnAgent {
    pub channels: Vec<Channel>,
}

/// A channel of it, and the Bot that takes what comes in there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    pub name: String,
    pub bot: Option<String>,
}

/// A server that was spoken to without a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Greeting {
    pub status: u16,
    pub time: Option<CloudTime>,
}

/// One who may ask.
#[derive(Debug)]
pub struct Asker<'a> {
    pub http: &'a HttpClient,
    pub base: &'a Url,
    pub token: &'a SecretString,
}

/// All that is needed beside the agent's own resource, which is read by its id.
pub const RIGHTS: [Right; 8] = [
    right(
        "Device",
        Interaction::Search,
        "to know which devices the cloud has",
    ),
    right("Device", Interaction::Read, "to know the device of a Task"),
    right(
        "Endpoint",
        Interaction::Search,
        "to know which of them are off",
    ),
    right(
        "Bot",
        Interaction::Read,
        "to have what devices send taken by the Bot of a channel",
    ),
    right(
        "Task",
        Interaction::Search,
        "to find what is in the mailbox",
    ),
    right("Task", Interaction::Read, "to read what is in the mailbox"),
    right(
        "Task",
        Interaction::Update,
        "to claim a Task, and to say what became of it",
    ),
    right("Binary", Interaction::Read, "to read the payload of a Task"),
];

impl Interaction {
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Search => "search",
            Self::Update => "update",
        }
    }
}

/// What has to stand in the access policy for all that is needed of a type of resource.
pub fn entry(kind: &str, agent: &str) -> Value {
    let interactions: Vec<&str> = match kind {
        "Agent" => vec![Interaction::Read.word()],
        _ => RIGHTS
            .iter()
            .filter(|right| right.kind == kind)
            .map(|right| right.interaction.word())
            .collect(),
    };
    let criteria = match kind {
        "Agent" => Some(format!("Agent?_id={agent}")),
        "Task" => Some("Task?code=wardpost-push".to_owned()),
        _ => None,
    };
    let mut entry = json!({ "resourceType": kind });
    if let Some(criteria) = criteria {
        entry["criteria"] = criteria.into();
    }
    entry["interaction"] = interactions.into();
    entry
}

/// Asks the server whether it is well, which needs no right.
pub async fn greet(http: &HttpClient, base: &Url) -> Result<Greeting, HttpError> {
    let asked = clock::mono();
    let answer = http.get(&beneath(base, &["healthcheck"])).await?;
    Ok(Greeting {
        status: answer.status,
        time: headers::time(answer.date, asked),
    })
}

impl Asker<'_> {
    pub async fn may(&self, right: Right) -> Judged {
        let nothing = nobody();
        let answer = match right.interaction {
            Interaction::Search => {
                let mut url = self.at(&[right.kind]);
                url.set_query(Some("_count=1"));
                self.http.read(&url, self.token).await
            }
            Interaction::Read => {
                let url = self.at(&[right.kind, &nothing]);
                self.http.read(&url, self.token).await
            }
            Interaction::Update => {
                // Where it could be made by this, it would say itself that it is a mistake.
                let resource = json!({
                    "resourceType": right.kind, "id": nothing, "status": "entered-in-error", "intent": "order",
                });
                let url = self.at(&[right.kind, &nothing]);
                self.http.put(&url, self.token, &resource).await
            }
        };
        judge(answer)
    }

    /// Reads one resource that must be there.
    pub async fn reads(&self, reference: &str) -> Judged {
        let path: Vec<&str> = reference.split('/').collect();
        match self.http.read(&self.at(&path), self.token).await {
            Ok(answer) if answer.status == 404 => Judged::Lacking { status: 404 },
            answer => judge(answer),
        }
    }

    /// Reads the agent's own resource.
    pub async fn own(&self, id: &str) -> Result<OwnAgent, Judged> {
        let answer = self.http.read(&self.at(&["Agent", id]), self.token).await;
        let body = match &answer {
            Ok(HttpAnswer {
                status: 200, body, ..
            }) => body,
            Ok(HttpAnswer {
                status: 404 | 410, ..
            }) => {
                return Err(Judged::Lacking { status: 404 });
            }
            _ => return Err(judge(answer)),
        };
        let resource: Value = serde_json::from_slice(body).unwrap_or_default();
        let channels = resource["channel"].as_array();
        let channel = |channel: &Value| Channel {
            name: quoted(channel["name"].as_str().unwrap_or_default()),
            bot: channel["targetReference"]["reference"].as_str().map(quoted),
        };
        Ok(OwnAgent {
            channels: channels.into_iter().flatten().map(channel).collect(),
        })
    }

    fn at(&self, path: &[&str]) -> Url {
        let path: Vec<&str> = ["fhir", "R4"].iter().chain(path).copied().collect();
        beneath(self.base, &path)
    }
}

fn judge(answer: Result<HttpAnswer, HttpError>) -> Judged {
    match answer {
        Ok(answer) => match answer.status {
            status @ 403 => Judged::Lacking { status },
            odd @ (401 | 429 | 500..) => Judged::Unknown {
                why: format!("the server answered HTTP {odd}"),
            },
            _ => Judged::Held,
        },
        Err(error) => Judged::Unknown {
            why: super::told(&error),
        },
    }
}

/// An id that nothing has: 122 random bits, in the form that a server gives ids.
fn nobody() -> String {
    let bits: u128 = rand::random();
    let bits = (bits & !(0xf << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{bits:032x}");
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    [
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32),
    ]
    .join("-")
}

const fn right(kind: &'static str, interaction: Interaction, needed: &'static str) -> Right {
    Right {
        kind,
        interaction,
        needed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_nothing_has_looks_like_one() {
        let id = nobody();
        let parts: Vec<usize> = id.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
        assert_eq!(&id[14..15], "4");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, nobody());
    }

    #[test]
    fn the_access_policy_that_is_shipped_is_what_is_asked_for_and_no_more() {
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../docs/examples/lab-order/resources/access-policy.json"
        );
        let policy: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let mut kinds = vec!["Agent"];
        kinds.extend(RIGHTS.iter().map(|right| right.kind));
        kinds.dedup();
        let entries: Vec<Value> = kinds.into_iter().map(|kind| entry(kind, "AGENT")).collect();
        assert_eq!(policy["resource"], Value::from(entries));
        assert_eq!(policy["resourceType"], "AccessPolicy");
    }

    #[test]
    fn what_a_server_says_of_an_id_that_nothing_has_tells_the_right() {
        let answer = |status| {
            judge(Ok(HttpAnswer {
                status,
                location: None,
                content_type: String::new(),
                asked: agent_core::retry::AskedWait::Nothing,
                date: None,
                body: Vec::new(),
            }))
        };
        for status in [200, 404, 410] {
            assert_eq!(answer(status), Judged::Held, "{status}");
        }
        assert_eq!(answer(403), Judged::Lacking { status: 403 });
        for status in [401, 429, 502] {
            assert!(matches!(answer(status), Judged::Unknown { .. }), "{status}");
        }
    }
}
