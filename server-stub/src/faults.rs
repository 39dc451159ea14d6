//! What can go wrong on purpose. Tests set it while the stub runs; by default nothing does.

use std::time::Duration;

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::outcome::Outcome;

/// Faults in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fault that is on or off by itself"
)]
pub struct Faults {
    /// Refuse requests for a token.
    pub refuse_tokens: Option<RefuseTokens>,
    /// What comes instead of a token, as long as it is set.
    pub instead_of_tokens: Option<Instead>,
    /// What comes instead of an agent's websocket, as long as it is set.
    pub instead_of_websockets: Option<Instead>,
    /// What comes instead of an answer below `fhir/R4/`. The first that fits a request is used.
    pub instead_of_fhir: Vec<FhirFault>,
    /// Refuse `agent:connect:request` with this `agent:error`.
    pub refuse_connect: Option<String>,
    /// Wait before answering `agent:connect:request`.
    pub delay_connect: Option<Duration>,
    /// Send the agent what is kept for it before its connect request is answered; goes well with a delay.
    pub subscribe_first: bool,
    /// End the websocket as soon as an agent has connected.
    pub end_on_connect: Option<Ending>,
    /// Take the connect request, but never say so.
    pub drop_connect_response: bool,
    /// Neither send heartbeats nor answer any.
    pub no_heartbeats: bool,
    /// Send every push twice.
    pub duplicate_pushes: bool,
    /// Send every push this much later.
    pub delay_pushes: Option<Duration>,
    /// Which form callbacks have.
    pub callbacks: CallbackForm,
    /// Answer what an agent sends up without a `statusCode`.
    pub omit_status_code: bool,
    /// Answer what an agent sends up with a JSON object as body.
    pub object_body: bool,
}

/// The next requests for a token that are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RefuseTokens {
    /// How many; it counts down.
    pub times: u32,
    /// HTTP status of the refusal; 400 comes as an OAuth error, anything else as an `OperationOutcome`.
    pub status: u16,
}

/// Requests below `fhir/R4/` that go wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FhirFault {
    /// Such as `PATCH`; `*` is any.
    pub method: String,
    /// The resource type, such as `Task`; `*` is any.
    pub kind: String,
    /// How many; it counts down.
    pub times: u32,
    pub when: When,
    pub instead: Instead,
}

/// Whether a request has its effect, although its answer is another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// It is not looked at.
    Before,
    /// It is carried out, and its own answer is lost.
    After,
}

/// What somebody who is in the way, or not well, answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instead {
    /// This status, as an `OperationOutcome`.
    Status(u16),
    /// This status, and the wish to be left alone for some seconds.
    Later { status: u16, seconds: u64 },
    /// 200 and a page, as from a captive portal.
    Page,
    /// 200 and JSON that is no answer to anything.
    Garbage,
    /// The request is taken and never answered.
    Silence,
}

/// Both forms are in use; an agent must echo either.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CallbackForm {
    /// `Agent/<id>-<uuid>`
    #[default]
    Agent,
    /// `agent:cb:<host>:<uuid>`
    Host,
}

/// How the stub ends websockets when a test says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// With a close frame of this code, such as 1001.
    Code(u16),
    /// Without a close frame; the peer sees 1006.
    Abort,
}

impl Instead {
    /// Answers in place of who was asked.
    pub(crate) async fn answer(self, stop: &CancellationToken) -> Response {
        let refusal = |status| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Outcome::with_status(status).into_response()
        };
        match self {
            Self::Status(status) => refusal(status),
            Self::Later { status, seconds } => (
                [(header::RETRY_AFTER, seconds.to_string())],
                refusal(status),
            )
                .into_response(),
            Self::Page => Html("<html><body>Please accept our terms</body></html>").into_response(),
            Self::Garbage => Json(json!({ "message": "all is well" })).into_response(),
            Self::Silence => {
                stop.cancelled().await;
                refusal(503)
            }
        }
    }
}

impl Faults {
    /// Takes one refusal of a token, if there is one left.
    pub(crate) fn take_token_refusal(&mut self) -> Option<u16> {
        let refusal = self.refuse_tokens.as_mut()?;
        refusal.times = refusal.times.checked_sub(1)?;
        Some(refusal.status)
    }

    /// Takes the fault that a request of this method and type meets, if there is one left.
    pub(crate) fn take_fhir_fault(&mut self, method: &str, kind: &str) -> Option<(When, Instead)> {
        let fits = |wanted: &str, found: &str| wanted == "*" || wanted == found;
        let fault = self.instead_of_fhir.iter_mut().find(|fault| {
            fault.times > 0 && fits(&fault.method, method) && fits(&fault.kind, kind)
        })?;
        fault.times -= 1;
        Some((fault.when, fault.instead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_tokens_count_down() {
        let refuse_tokens = Some(RefuseTokens {
            times: 1,
            status: 503,
        });
        let mut faults = Faults {
            refuse_tokens,
            ..Faults::default()
        };
        assert_eq!(faults.take_token_refusal(), Some(503));
        assert_eq!(faults.take_token_refusal(), None);
    }

    #[test]
    fn a_fault_is_met_by_requests_of_its_method_and_type_only() {
        let fault = |method: &str, times| FhirFault {
            method: method.into(),
            kind: "Task".into(),
            times,
            when: When::After,
            instead: Instead::Status(412),
        };
        let mut faults = Faults {
            instead_of_fhir: vec![fault("PUT", 1), fault("*", 1)],
            ..Faults::default()
        };
        assert_eq!(faults.take_fhir_fault("PUT", "Binary"), None);
        let met = Some((When::After, Instead::Status(412)));
        assert_eq!(faults.take_fhir_fault("PUT", "Task"), met);
        assert_eq!(faults.take_fhir_fault("GET", "Task"), met);
        assert_eq!(faults.take_fhir_fault("PUT", "Task"), None);
    }
}
