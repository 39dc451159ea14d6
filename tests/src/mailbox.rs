//! The Tasks of a mailbox, as a Bot or a person writes and reads them.

#![expect(
    clippy::missing_panics_doc,
    reason = "a story that cannot go on fails its test"
)]

use serde_json::{Value, json};

use crate::bench::{Bench, Reply, destination};
use crate::sim::Order;

/// The Tasks in the stub of a bench.
#[derive(Clone, Debug)]
pub struct Tasks<'a>(&'a Bench);

impl<'a> Tasks<'a> {
    pub fn of(bench: &'a Bench) -> Self {
        Self(bench)
    }

    /// A Task as a Bot writes it.
    pub fn task(&self, device: &str, order: &Order) -> Value {
        json!({
            "resourceType": "Task", "status": "requested", "intent": "order",
            "code": { "coding": [{ "code": "wardpost-push" }] },
            "authoredOn": "2026-03-01T08:00:00Z",
            "owner": { "reference": destination(device) },
            "input": [
                { "type": { "text": "payload" }, "valueString": order.text() },
                { "type": { "text": "contentType" }, "valueString": agent_wire::HL7 },
            ],
        })
    }

    /// Creates it and gives its id.
    pub fn create(&self, task: &Value) -> String {
        id_of(&self.post("Task", task))
    }

    /// A Task for this order, written now.
    pub fn request(&self, device: &str, order: &Order) -> String {
        self.create(&self.task(device, order))
    }

    /// The same, written so many seconds after eight o'clock.
    pub fn request_at(&self, device: &str, order: &Order, second: u32) -> String {
        let mut task = self.task(device, order);
        let (minute, second) = (second / 60, second % 60);
        task["authoredOn"] = json!(format!("2026-03-01T08:{minute:02}:{second:02}Z"));
        self.create(&task)
    }

    /// The Task as it is now.
    pub fn read(&self, id: &str) -> Value {
        let path = format!("/fhir/R4/Task/{id}");
        let reply = self.0.wait_on(self.0.http().read(&path));
        reply.map(|reply| reply.json()).unwrap_or_default()
    }

    /// Somebody else changes its status.
    pub fn set_status(&self, id: &str, status: &str) {
        let steps = json!([{ "op": "replace", "path": "/status", "value": status }]);
        let path = format!("/fhir/R4/Task/{id}");
        let reply = self.0.wait_on(self.0.http().patch(&path, &steps));
        let reply = reply.expect("the stub answers");
        assert_eq!(reply.status, 200, "{reply:?}");
    }

    /// The push that was made of it, as its claim says.
    pub fn push_of(&self, task: &Value) -> u64 {
        let identifiers = task["identifier"].as_array().into_iter().flatten();
        let mut marks = identifiers.filter(|one| one["system"] == "urn:wardpost:push");
        let mark = marks.next().and_then(|one| one["value"].as_str());
        let push = mark.and_then(|mark| mark.split('/').nth(1)?.parse().ok());
        push.expect("a claimed Task names its push")
    }

    /// Puts this into a Binary and gives its reference.
    pub fn binary(&self, kind: &str, text: &str) -> String {
        let post = self.0.http().post_as("/fhir/R4/Binary", kind, text);
        let reply = self.0.wait_on(post).expect("the stub answers");
        format!("Binary/{}", id_of(&reply))
    }

    /// A Device that no file maps, and its reference.
    pub fn device(&self, url: &str) -> String {
        let device = json!({ "resourceType": "Device", "url": url });
        format!("Device/{}", id_of(&self.post("Device", &device)))
    }

    pub fn another_agent(&self) {
        let agent = json!({ "resourceType": "Agent", "name": "Ward 4", "status": "active" });
        self.post("Agent", &agent);
    }

    fn post(&self, kind: &str, resource: &Value) -> Reply {
        let path = format!("/fhir/R4/{kind}");
        let reply = self.0.wait_on(self.0.http().post(&path, resource));
        let reply = reply.expect("the stub answers");
        assert_eq!(reply.status, 201, "{reply:?}");
        reply
    }
}

fn id_of(reply: &Reply) -> String {
    let id = reply.json()["id"].as_str().map(str::to_owned);
    id.expect("what was created has an id")
}
