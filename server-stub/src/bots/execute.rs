//! `$execute`: somebody tries a Bot, or calls it.

use std::sync::Arc;

use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use super::{Ended, Run, Success, deploy};
use crate::http::{Call, MAX_JSON, Query};
use crate::oauth::{self, Caller};
use crate::outcome::Outcome;
use crate::search::Search;
use crate::server::Server;
use crate::store::text;

/// Answers one operation on Bots: `path` is what stands below `fhir/R4/Bot/`.
pub(crate) async fn route(
    server: &Arc<Server>,
    path: &[&str],
    call: Call,
) -> Result<Response, Outcome> {
    match (path, &call.method) {
        ([id, "$deploy"], &Method::POST) => deploy::deploy(server, id, call).await,
        (["$execute", ..], &Method::GET | &Method::POST) => execute(server, None, call).await,
        ([id, "$execute", ..], &Method::GET | &Method::POST) => {
            execute(server, Some(id), call).await
        }
        _ => Err(Outcome::not_found()),
    }
}

async fn execute(
    server: &Arc<Server>,
    id: Option<&str>,
    mut call: Call,
) -> Result<Response, Outcome> {
    let bot = match id {
        Some(id) => call.caller.read(server, "Bot", id)?,
        None => identified(server, &call.caller, &call.query)?,
    };
    let content_type = call.header(&header::CONTENT_TYPE).to_owned();
    let input = input(&mut call, &content_type).await?;
    let run = Run {
        caller: runs_as(server, &bot, &call.caller),
        bot,
        requester: Some(call.caller.reference()),
        content_type: content_type.clone(),
        input,
        headers: Some(headers(&call)),
        about: Vec::new(),
    };
    let ended = server.bots.run(server, run).await?;
    Ok(answer(ended, &content_type))
}

/// The Bot that `?identifier=` names.
fn identified(server: &Server, caller: &Caller, query: &Query) -> Result<Arc<Value>, Outcome> {
    let nobody = || Outcome::invalid("Must specify bot ID or identifier.");
    let wanted = query.value("identifier").ok_or_else(nobody)?;
    let query = Query(vec![("identifier".to_owned(), wanted.to_owned())]);
    let found = caller.find(server, "Bot", &Search::parse(&query)?)?;
    found.page.into_iter().next().ok_or_else(nobody)
}

/// The Bot's own membership; the caller's if it has none, or is to run as who calls it.
fn runs_as(server: &Server, bot: &Arc<Value>, caller: &Arc<Caller>) -> Arc<Caller> {
    let own = oauth::membership(server, &format!("Bot/{}", text(bot, "id")));
    if own.is_none() || bot.get("runAsUser") == Some(&Value::Bool(true)) {
        return Arc::clone(caller);
    }
    Arc::new(Caller::of(server, Arc::clone(bot)))
}

/// The body by its content type; of a GET the query.
async fn input(call: &mut Call, content_type: &str) -> Result<Value, Outcome> {
    if call.method == Method::GET {
        let members = call.query.0.iter();
        let members = members.map(|(name, value)| (name.clone(), Value::String(value.clone())));
        return Ok(Value::Object(members.collect()));
    }
    if content_type.contains("json") {
        return call.json().await;
    }
    let bytes = call.bytes(MAX_JSON).await?;
    Ok(Value::String(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The caller's headers, less those that say who it is.
fn headers(call: &Call) -> Value {
    let named = call.headers.iter();
    let shown = named.filter(|(name, _)| **name != header::AUTHORIZATION);
    let text = |value: &axum::http::HeaderValue| {
        Value::String(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let members: Map<String, Value> = shown
        .map(|(name, value)| (name.to_string(), text(value)))
        .collect();
    Value::Object(members)
}

/// Text and HL7 are answered as such, all else as JSON.
fn answer(ended: Ended, asked: &str) -> Response {
    let status = match ended.success {
        Success::Yes => StatusCode::OK,
        Success::No => StatusCode::BAD_REQUEST,
    };
    let body = match ended.value {
        None => Outcome::all_ok().resource().to_string(),
        Some(Value::String(text)) => text,
        Some(value) => value.to_string(),
    };
    let kind = if MIRRORED.contains(&asked) {
        asked
    } else {
        "application/json"
    };
    let kind = format!("{kind}; charset=utf-8");
    (status, [(header::CONTENT_TYPE, kind)], body).into_response()
}

const MIRRORED: &[&str] = &["text/plain", "x-application/hl7-v2+er7"];
