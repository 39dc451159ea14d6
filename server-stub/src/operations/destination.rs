//! What a push says it wants: its members, and the address behind its destination.

use std::net::Ipv4Addr;
use std::time::Duration;

use agent_wire::PING;
use serde_json::{Map, Value};

use crate::delivery::{Submission, Wait};
use crate::http::Query;
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::search::Search;
use crate::server::Server;
use crate::store::text;

/// The members of a push, from plain JSON or from FHIR Parameters.
pub(super) struct Input(Map<String, Value>);

impl Input {
    pub(super) fn new(body: &Value) -> Self {
        if text(body, "resourceType") == "Parameters" {
            return Self::from_parameters(body);
        }
        Self(body.as_object().cloned().unwrap_or_default())
    }

    /// Only `valueString` is read, as on a real server.
    fn from_parameters(body: &Value) -> Self {
        let all = body.get("parameter").and_then(Value::as_array);
        let strings = all.into_iter().flatten().filter_map(|parameter| {
            let value = parameter.get("valueString")?.clone();
            Some((text(parameter, "name").to_owned(), value))
        });
        Self(strings.collect())
    }

    pub(super) fn is_ping(&self) -> bool {
        self.string("contentType") == Some(PING)
    }

    /// Checks everything, in the order of a real server.
    pub(super) fn submission(
        &self,
        server: &Server,
        caller: &Caller,
    ) -> Result<Submission, Outcome> {
        let body = self
            .string("body")
            .ok_or(Outcome::invalid("Missing body parameter"))?;
        let content_type = self
            .string("contentType")
            .ok_or(Outcome::invalid("Missing contentType parameter"))?;
        let destination = self
            .string("destination")
            .ok_or(Outcome::invalid("Missing destination parameter"))?;
        let wait = self.wait()?;
        Ok(Submission {
            remote: self.remote(server, caller, destination)?,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
            return_ack: self.string("returnAck").map(str::to_owned),
            wait,
        })
    }

    /// The address behind a destination, as far as the caller may see it.
    fn remote(
        &self,
        server: &Server,
        caller: &Caller,
        destination: &str,
    ) -> Result<String, Outcome> {
        let not_found = || Outcome::invalid("Destination device not found");
        let device = if let Some(id) = destination.strip_prefix("Device/") {
            caller.read(server, "Device", id).map_err(|_| not_found())?
        } else if let Some(query) = destination.strip_prefix("Device?") {
            let search = Search::parse(&Query::parse(query)).map_err(|_| not_found())?;
            let found = caller.find(server, "Device", &search);
            let found = found.map_err(|_| not_found())?.page;
            found.into_iter().next().ok_or_else(not_found)?
        } else if self.is_ping() && is_host(destination) {
            return Ok(destination.to_owned());
        } else {
            return Err(not_found());
        };
        match text(&device, "url") {
            "" => Err(Outcome::invalid("Destination device missing url")),
            url => Ok(url.to_owned()),
        }
    }

    fn wait(&self) -> Result<Wait, Outcome> {
        let wrong = || Outcome::invalid("Invalid wait timeout");
        let patience = match self.0.get("waitTimeout") {
            None | Some(Value::Null) => DEFAULT_WAIT,
            Some(Value::String(text)) => text.parse().map_err(|_| wrong())?,
            Some(value) => value.as_f64().ok_or_else(wrong)?,
        };
        if !(0.0..=MAX_WAIT).contains(&patience) {
            return Err(wrong());
        }
        let waits = match self.0.get("waitForResponse") {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => number.as_f64() != Some(0.0),
            Some(_) => true,
        };
        Ok(if waits {
            Wait::For(Duration::from_secs_f64(patience / 1000.0))
        } else {
            Wait::No
        })
    }

    /// A member that is a string with something in it.
    fn string(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }
}

/// An IPv4 address or a host name.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
    };
    text.parse::<Ipv4Addr>().is_ok() || (text.len() <= 253 && text.split('.').all(label))
}

/// Milliseconds.
const DEFAULT_WAIT: f64 = 10_000.0;
const MAX_WAIT: f64 = 55_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wait(body: &Value) -> Option<Wait> {
        Input::new(body).wait().ok()
    }

    #[test]
    fn any_truthy_value_waits() {
        let ten = Wait::For(Duration::from_secs(10));
        assert_eq!(wait(&json!({})), Some(Wait::No));
        assert_eq!(wait(&json!({ "waitForResponse": false })), Some(Wait::No));
        assert_eq!(wait(&json!({ "waitForResponse": true })), Some(ten));
        assert_eq!(wait(&json!({ "waitForResponse": "false" })), Some(ten));
    }

    #[test]
    fn a_wait_is_at_most_55_seconds() {
        let with = |timeout| wait(&json!({ "waitForResponse": true, "waitTimeout": timeout }));
        assert_eq!(with(0), Some(Wait::For(Duration::ZERO)));
        assert_eq!(with(55_000), Some(Wait::For(Duration::from_secs(55))));
        assert_eq!(with(55_001), None);
        assert_eq!(with(-1), None);
    }

    #[test]
    fn parameters_are_read_as_strings_only() {
        let body = json!({ "resourceType": "Parameters", "parameter": [
            { "name": "waitForResponse", "valueBoolean": true },
            { "name": "contentType", "valueString": PING },
        ] });
        assert_eq!(wait(&body), Some(Wait::No));
        assert!(Input::new(&body).is_ping());
    }

    #[test]
    fn hosts_are_addresses_and_names() {
        for host in ["10.0.0.7", "lab", "lab-1.example.org"] {
            assert!(is_host(host), "{host}");
        }
        for not in ["", "mllp://10.0.0.7", "a b", "-a", "::1", "a..b"] {
            assert!(!is_host(not), "{not}");
        }
    }
}
