//! `$status` and `$bulk-status`: what was last seen of an agent's connection. Nobody is asked.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{agent, agents, bundle, parameters};
use crate::http::{Call, Query};
use crate::oauth::Caller;
use crate::outcome::{Outcome, fhir_json};
use crate::search::Search;
use crate::server::Server;
use crate::store::text;

pub(super) fn one(server: &Server, id: Option<&str>, call: &Call) -> Result<Response, Outcome> {
    let agent = agent(server, &call.caller, id, &call.query)?;
    Ok(fhir_json(StatusCode::OK, &status(server, &agent)))
}

pub(super) async fn bulk(
    server: &Arc<Server>,
    caller: &Caller,
    query: &Query,
) -> Result<Response, Outcome> {
    let agents = agents(server, caller, &Search::parse(query)?)?;
    let bundle = bundle(agents, |agent| async move { Ok(status(server, &agent)) }).await;
    Ok(fhir_json(StatusCode::OK, &bundle))
}

fn status(server: &Server, agent: &Value) -> Value {
    let info = server.hub.info(text(agent, "id"));
    let mut known = vec![
        json!({ "name": "status", "valueCode": info.status }),
        json!({ "name": "version", "valueString": info.version }),
    ];
    if let Some(instant) = info.last_updated {
        known.push(json!({ "name": "lastUpdated", "valueInstant": instant }));
    }
    parameters(&known)
}
