//! `Prefer: respond-async`: an `AsyncJob` that remembers how an operation ended.
//!
//! The work itself lives in this process only; a job whose process ended stays `accepted` for ever, as on a real server.

use std::sync::Arc;

use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tracing::warn;

use super::parameters;
use super::push::Done;
use crate::outcome::{Outcome, fhir_json};
use crate::patch::Step;
use crate::server::Server;
use crate::store::{Change, Edit, Name, Refused, now_instant, text};

/// Starts the work, and says where to ask how it went.
pub(super) async fn start(
    server: &Arc<Server>,
    target: &str,
    work: impl Future<Output = Result<Done, Outcome>> + Send + 'static,
) -> Result<Response, Outcome> {
    let request = format!("{}{target}", server.base_url.trim_end_matches('/'));
    let job = json!({
        "resourceType": "AsyncJob",
        "status": "accepted",
        "request": request,
        "requestTime": now_instant(),
    });
    let job = server.write(Change::Create(job)).await?;
    let name = Name::of(&job);
    let url = format!("{}fhir/R4/job/{}/status", server.base_url, name.id);
    let owner = Arc::clone(server);
    server.tasks.spawn(async move {
        let (status, output) = ended(work.await);
        finish(&owner, name, status, output).await;
    });
    Ok(Outcome::accepted(url).into_response())
}

/// `GET` and `DELETE` of `job/<id>/status`.
pub(crate) async fn status(
    server: &Server,
    id: &str,
    method: &Method,
) -> Result<Response, Outcome> {
    let job = server.read("AsyncJob", id)?;
    match *method {
        Method::GET if text(&job, "status") == "accepted" => {
            Ok(fhir_json(StatusCode::ACCEPTED, &job))
        }
        Method::GET => Ok(fhir_json(StatusCode::OK, &job)),
        Method::DELETE => {
            finish(server, Name::of(&job), "cancelled", parameters(&[])).await;
            Ok(fhir_json(
                StatusCode::ACCEPTED,
                &Outcome::all_ok().resource(),
            ))
        }
        _ => Err(Outcome::method_not_allowed()),
    }
}

/// A refusal completes a job; only a timeout is an error.
fn ended(work: Result<Done, Outcome>) -> (&'static str, Value) {
    match work {
        Ok(done) => ("completed", done.output()),
        Err(outcome) => {
            let status = if outcome == Outcome::timeout() {
                "error"
            } else {
                "completed"
            };
            let output = json!({ "name": "outcome", "resource": outcome.resource() });
            (status, parameters(&[output]))
        }
    }
}

/// Writes the end of a job, unless it has ended before.
async fn finish(server: &Server, name: Name, status: &str, output: Value) {
    let add = |path: &str, value| Step::Add {
        path: path.to_owned(),
        value,
    };
    let steps = vec![
        Step::Test {
            path: "/status".to_owned(),
            value: json!("accepted"),
        },
        add("/status", json!(status)),
        add("/transactionTime", json!(now_instant())),
        add("/output", output),
    ];
    let id = name.id.clone();
    let change = Change::Edit {
        name,
        if_match: None,
        edit: Edit::Patch(steps),
        by: None,
    };
    match server.store.write(change).await {
        Ok(Ok(_) | Err(Refused::BadPatch(_))) => {}
        Ok(Err(refused)) => warn!(job = id, ?refused, "the end of a job is not written"),
        Err(error) => warn!(job = id, %error, "the end of a job is not written"),
    }
}
