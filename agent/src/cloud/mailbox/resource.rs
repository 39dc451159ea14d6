//! The Task resource: what is read of it, and the patches that are written on it.
//!
//! | element | holds |
//! |---|---|
//! | `code` | `wardpost-push` |
//! | `owner` | the Device that is to get it, by reference |
//! | `input` `payload` | `valueString`: the text; or `valueReference`: a Binary |
//! | `input` `contentType` | `valueString` or `valueCode`; a Binary has its own |
//! | `input` `returnAck` | optional: `first` or `application` |
//! | `input` `agent` | optional, `valueReference`: the only Agent that may take it |
//! | `restriction.period.end` | optional: not sent after that |
//! | `identifier` of `urn:wardpost:push` | written by the agent that has claimed it: `AGENT/PUSH/VERSION` |
//! | `businessStatus`, `statusReason` | written by the agent, in words |
//! | `output` `answer` | the device's words |

use agent_core::mailbox::{Mark, Status, Task, TaskId, Version};
use agent_core::phi::Phi;
use agent_core::push::{PushId, Timestamp};
use serde_json::{Value, json};

/// What a Task asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wish {
    pub(super) payload: Payload,
    pub(super) content_type: Option<String>,
    pub(super) return_ack: Option<String>,
    pub(super) expires: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Payload {
    Text(Phi<String>),
    /// The id of a Binary.
    Binary(String),
}

/// What must be known of a version of a Task to write on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Form {
    pub(super) version: Version,
    /// Where our claim stands among the identifiers.
    mark: Place,
    outputs: Has,
    reason: Has,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    NoList,
    NotIn,
    At(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Has {
    None,
    Some,
}

/// What is said on a Task.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) status: Status,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) answer: Option<Phi<String>>,
}

/// What decisions need of a Task; `None` if it is none.
pub(super) fn task(value: &Value, agent: &str) -> Option<Task> {
    if value["resourceType"] != "Task" {
        return None;
    }
    let id = value["id"].as_str().filter(|id| !id.is_empty())?;
    let version = value.pointer("/meta/versionId").and_then(Value::as_str)?;
    // A status that nobody knows is one that is not requested.
    let status = value["status"].as_str().and_then(Status::from_word);
    Some(Task {
        id: TaskId(id.into()),
        version: Version(version.into()),
        status: status.unwrap_or(Status::Draft),
        authored: value["authoredOn"].as_str().and_then(instant),
        owner: reference(&value["owner"]).unwrap_or_default().into(),
        mark: marks(value).find_map(|(_, mark)| read_mark(mark, agent)),
    })
}

/// The Device that is to get it.
pub(super) fn device_id(value: &Value) -> Option<&str> {
    reference(&value["owner"])?.strip_prefix("Device/")
}

/// The Agent that it names, if it names one.
pub(super) fn named_agent(value: &Value) -> Option<&str> {
    let named = inputs(value, &["agent"]).next()?;
    reference(&named["valueReference"])?.strip_prefix("Agent/")
}

/// What it asks for; the error says what is wrong with it.
pub(super) fn wish(value: &Value) -> Result<Wish, String> {
    let mut payloads = inputs(value, &["payload"]);
    let payload = payloads.next().ok_or("it has no input «payload»")?;
    if payloads.next().is_some() {
        return Err("it has more than one input «payload»".into());
    }
    let payload = match (
        payload["valueString"].as_str(),
        reference(&payload["valueReference"]),
    ) {
        (Some(text), _) => Payload::Text(Phi(text.to_owned())),
        (None, Some(reference)) => {
            let id = reference.strip_prefix("Binary/");
            Payload::Binary(
                id.ok_or("its input «payload» refers to no Binary")?
                    .to_owned(),
            )
        }
        (None, None) => {
            return Err("its input «payload» has no valueString and no valueReference".into());
        }
    };
    let text = |names: &[&str]| {
        let input = inputs(value, names).next()?;
        let text = input["valueString"].as_str();
        text.or_else(|| input["valueCode"].as_str())
            .map(str::to_owned)
    };
    Ok(Wish {
        payload,
        content_type: text(&["contentType", "content-type"]),
        return_ack: text(&["returnAck"]),
        expires: value
            .pointer("/restriction/period/end")
            .and_then(Value::as_str)
            .and_then(instant),
    })
}

impl Form {
    pub(super) fn of(value: &Value) -> Option<Self> {
        let version = value.pointer("/meta/versionId").and_then(Value::as_str)?;
        let has = |name: &str| match value.get(name) {
            None | Some(Value::Null) => Has::None,
            Some(_) => Has::Some,
        };
        let mark = match (has("identifier"), marks(value).next()) {
            (Has::None, _) => Place::NoList,
            (Has::Some, None) => Place::NotIn,
            (Has::Some, Some((at, _))) => Place::At(at),
        };
        Some(Self {
            version: Version(version.into()),
            mark,
            outputs: has("output"),
            reason: has("statusReason"),
        })
    }

    /// A JSON Patch that says this.
    pub(super) fn patch(&self, words: &Words, mark: Option<&str>) -> Value {
        let mut steps = vec![
            json!({ "op": "replace", "path": "/status", "value": words.status.word() }),
            json!({ "op": "add", "path": "/businessStatus", "value": { "text": words.state } }),
        ];
        if let Some(mark) = mark {
            steps.push(self.mark(mark));
        }
        match (&words.reason, self.reason) {
            (Some(reason), _) => steps
                .push(json!({ "op": "add", "path": "/statusReason", "value": { "text": reason } })),
            (None, Has::Some) => steps.push(json!({ "op": "remove", "path": "/statusReason" })),
            (None, Has::None) => {}
        }
        if let Some(answer) = &words.answer {
            let output = json!({
                "type": { "coding": [{ "code": "answer" }], "text": "answer" },
                "valueString": answer.0,
            });
            steps.push(match self.outputs {
                Has::None => json!({ "op": "add", "path": "/output", "value": [output] }),
                Has::Some => json!({ "op": "add", "path": "/output/-", "value": output }),
            });
        }
        Value::Array(steps)
    }

    fn mark(&self, mark: &str) -> Value {
        let identifier = json!({ "system": SYSTEM, "value": mark });
        match self.mark {
            Place::NoList => {
                json!({ "op": "add", "path": "/identifier", "value": [identifier] })
            }
            Place::NotIn => json!({ "op": "add", "path": "/identifier/-", "value": identifier }),
            Place::At(at) => {
                let path = format!("/identifier/{at}");
                json!({ "op": "replace", "path": path, "value": identifier })
            }
        }
    }
}

/// What a claim says.
pub(super) fn mark(agent: &str, push: PushId, version: &Version) -> String {
    format!("{agent}/{push}/{}", version.0)
}

fn read_mark(text: &str, agent: &str) -> Option<Mark> {
    let rest = text.strip_prefix(agent)?.strip_prefix('/')?;
    let (push, version) = rest.split_once('/')?;
    Some(Mark {
        push: PushId(push.parse().ok()?),
        version: Version(version.into()),
    })
}

/// The claims in it, and where they stand.
fn marks(value: &Value) -> impl Iterator<Item = (usize, &str)> {
    let identifiers = value["identifier"].as_array().into_iter().flatten();
    let own = identifiers
        .enumerate()
        .filter(|(_, identifier)| identifier["system"] == SYSTEM);
    own.filter_map(|(at, identifier)| Some((at, identifier["value"].as_str()?)))
}

/// The inputs of this name, whether their type is coded or in words.
fn inputs<'a>(value: &'a Value, names: &'a [&'a str]) -> impl Iterator<Item = &'a Value> {
    let all = value["input"].as_array().into_iter().flatten();
    all.filter(move |input| {
        let kind = &input["type"];
        let codings = kind["coding"].as_array().into_iter().flatten();
        let codes = codings.filter_map(|coding| coding["code"].as_str());
        codes
            .chain(kind["text"].as_str())
            .any(|found| names.contains(&found))
    })
}

fn reference(value: &Value) -> Option<&str> {
    value["reference"].as_str()
}

/// A FHIR date and time; one without a time of day begins its day.
fn instant(text: &str) -> Option<Timestamp> {
    let whole = text.parse::<jiff::Timestamp>().ok();
    let at = whole.or_else(|| format!("{text}T00:00:00Z").parse().ok())?;
    Some(Timestamp(at.as_millisecond()))
}

/// Whose identifiers tell of claims.
pub(super) const SYSTEM: &str = "urn:wardpost:push";
/// What `Task.code` must hold.
pub(super) const CODE: &str = "wardpost-push";

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Value {
        json!({
            "resourceType": "Task", "id": "t1", "status": "requested", "intent": "order",
            "meta": { "versionId": "3" }, "authoredOn": "2026-03-01T09:00:00.250+01:00",
            "code": { "coding": [{ "code": "wardpost-push" }] },
            "owner": { "reference": "Device/d1" },
            "identifier": [{ "system": "urn:site", "value": "7" }],
            "input": [
                { "type": { "coding": [{ "code": "payload" }] }, "valueString": "MSH|" },
                { "type": { "text": "contentType" }, "valueCode": "x-application/hl7-v2+er7" },
                { "type": { "text": "agent" }, "valueReference": { "reference": "Agent/a1" } },
            ],
            "restriction": { "period": { "end": "2026-03-02" } },
        })
    }

    /// What a server makes of a patch of the members and lists that are used here.
    fn patched(mut value: Value, steps: &Value) -> Value {
        for step in steps.as_array().unwrap() {
            let path = step["path"].as_str().unwrap();
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parent = value.pointer_mut(parent).unwrap();
            let new = step["value"].clone();
            match (parent, step["op"].as_str().unwrap()) {
                (Value::Array(items), "add") => items.push(new),
                (Value::Array(items), _) => items[name.parse::<usize>().unwrap()] = new,
                (Value::Object(members), "remove") => drop(members.remove(name).unwrap()),
                (Value::Object(members), _) => drop(members.insert(name.into(), new)),
                (other, op) => unreachable!("{op} {path} in {other}"),
            }
        }
        value
    }

    fn words(status: Status) -> Words {
        Words {
            status,
            state: "push 17".into(),
            reason: None,
            answer: None,
        }
    }

    #[test]
    fn a_task_is_read_as_it_is_written_in_the_guide() {
        let read = task(&example(), "a1").unwrap();
        assert_eq!((&*read.id.0, &*read.version.0), ("t1", "3"));
        assert_eq!(read.status, Status::Requested);
        assert_eq!(read.authored, Some(Timestamp(1_772_352_000_250)));
        assert_eq!((&*read.owner, read.mark), ("Device/d1", None));
        assert_eq!(named_agent(&example()), Some("a1"));
        let wish = wish(&example()).unwrap();
        assert_eq!(wish.payload, Payload::Text(Phi("MSH|".into())));
        assert_eq!(wish.expires, Some(Timestamp(1_772_409_600_000)));
        assert_eq!(
            wish.content_type.as_deref(),
            Some("x-application/hl7-v2+er7")
        );
    }

    #[test]
    fn a_claim_is_read_back_and_replaced_and_other_identifiers_stay() {
        let mut value = example();
        for (push, version) in [(17, "3"), (18, "5")] {
            let form = Form::of(&value).unwrap();
            let text = mark("a1", PushId(push), &Version(version.into()));
            value = patched(value, &form.patch(&words(Status::Accepted), Some(&text)));
            let read = task(&value, "a1").unwrap();
            let expected = Mark {
                push: PushId(push),
                version: Version(version.into()),
            };
            assert_eq!(read.mark, Some(expected));
            assert_eq!(read.status, Status::Accepted);
            assert_eq!(value["identifier"].as_array().unwrap().len(), 2);
            assert_eq!(value["identifier"][0]["value"], "7");
            assert_eq!(task(&value, "a2").unwrap().mark, None, "it is not a2's");
        }
    }

    #[test]
    fn an_answer_is_added_to_the_outputs_and_a_reason_goes_when_it_is_over() {
        let mut value = example();
        let held = Words {
            reason: Some("uncertain".into()),
            ..words(Status::OnHold)
        };
        let done = Words {
            answer: Some(Phi("MSA|AA".into())),
            ..words(Status::Completed)
        };
        for said in [&held, &done, &done] {
            value = patched(value.clone(), &Form::of(&value).unwrap().patch(said, None));
        }
        assert!(value.get("statusReason").is_none());
        assert_eq!(value["output"].as_array().unwrap().len(), 2);
        assert_eq!(value["output"][1]["valueString"], "MSA|AA");
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let with = |input: Value| {
            let mut value = example();
            value["input"] = input;
            wish(&value).unwrap_err()
        };
        let payload = |value: &str, content: Value| json!([{ "type": { "text": "payload" }, value: content }]);
        assert!(with(json!([])).contains("no input «payload»"));
        assert!(with(json!("nonsense")).contains("no input «payload»"));
        assert!(with(payload("valueUri", json!("x"))).contains("no valueString"));
        let patient = json!({ "reference": "Patient/1" });
        assert!(with(payload("valueReference", patient)).contains("no Binary"));
        assert!(task(&json!({ "resourceType": "Bundle" }), "a1").is_none());
    }
}
