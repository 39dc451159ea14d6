//! `$push`.

use std::sync::Arc;

use agent_wire::{TEXT, ToServer, TransmitResponse};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::destination::Input;
use super::{agent, job, parameters};
use crate::delivery::Sent;
use crate::http::{Call, Query};
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::server::Server;
use crate::store::text;

/// How a push ended for its caller.
pub(super) enum Done {
    /// Handed on; nobody waits.
    Published,
    /// The agent's words.
    Answered {
        status: StatusCode,
        content_type: String,
        body: String,
    },
    /// No answer yet; the push is kept under this callback.
    Kept(String),
}

pub(super) async fn push(
    server: &Arc<Server>,
    id: Option<&str>,
    mut call: Call,
) -> Result<Response, Outcome> {
    let body = call.json().await?;
    if call.header(&PREFER) != "respond-async" {
        let (caller, query) = (&call.caller, &call.query);
        return run(server, caller, (id, query), &body)
            .await
            .map(IntoResponse::into_response);
    }
    let (id, owner) = (id.map(str::to_owned), Arc::clone(server));
    let (caller, query) = (call.caller, call.query);
    let work = async move { run(&owner, &caller, (id.as_deref(), &query), &body).await };
    job::start(server, &call.target, work).await
}

/// Checks and sends, in the order of a real server.
async fn run(
    server: &Server,
    caller: &Caller,
    (id, query): (Option<&str>, &Query),
    body: &Value,
) -> Result<Done, Outcome> {
    let agent = agent(server, caller, id, query)?;
    let input = Input::new(body);
    if text(&agent, "status") == "off" && !input.is_ping() {
        return Err(Outcome::invalid(
            "Agent is currently disabled. Agent.status is 'off'",
        ));
    }
    let submission = input.submission(server, caller)?;
    match server.push(text(&agent, "id"), submission).await? {
        Sent::NotWaiting => Ok(Done::Published),
        Sent::Kept(callback) => Ok(Done::Kept(callback)),
        Sent::Answered(ToServer::TransmitResponse(response)) => answered(response),
        Sent::Answered(ToServer::Error { body, .. }) => Err(Outcome::invalid(body)),
        Sent::Answered(_) => Err(Outcome::failed()),
    }
}

fn answered(response: TransmitResponse) -> Result<Done, Outcome> {
    let status = response.status_code.unwrap_or(200);
    if status >= 400 {
        return Err(Outcome::invalid(response.body));
    }
    // What is no final status of success is passed on as plain 200.
    let status = if status < 200 {
        StatusCode::OK
    } else {
        StatusCode::from_u16(status).unwrap_or_default()
    };
    Ok(Done::Answered {
        status,
        content_type: response.content_type,
        body: response.body,
    })
}

impl Done {
    /// The output of a job that ended like this.
    pub(super) fn output(self) -> Value {
        let (outcome, body) = match self {
            Self::Published => (Outcome::all_ok(), None),
            Self::Answered { body, .. } => (Outcome::all_ok(), Some(body)),
            Self::Kept(callback) => (Outcome::all_ok(), Some(kept_sentence(&callback))),
        };
        let outcome = json!({ "name": "outcome", "resource": outcome.resource() });
        match body {
            None => parameters(&[outcome]),
            Some(body) => parameters(&[
                outcome,
                json!({ "name": "responseBody", "valueString": body }),
            ]),
        }
    }
}

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        match self {
            Self::Published => Outcome::all_ok().into_response(),
            Self::Answered {
                status,
                content_type,
                body,
            } => words(status, &content_type, body),
            Self::Kept(callback) => words(StatusCode::ACCEPTED, TEXT, kept_sentence(&callback)),
        }
    }
}

/// Raw text under the content type that belongs to it.
fn words(status: StatusCode, content_type: &str, body: String) -> Response {
    let content_type = HeaderValue::from_str(&format!("{content_type}; charset=utf-8"))
        .unwrap_or(HeaderValue::from_static("text/plain; charset=utf-8"));
    (status, [(header::CONTENT_TYPE, content_type)], body).into_response()
}

fn kept_sentence(callback: &str) -> String {
    format!(
        "kept: the agent has not answered yet; the push stays here and is sent on every connect until it does, under callback {callback}"
    )
}

const PREFER: HeaderName = HeaderName::from_static("prefer");
