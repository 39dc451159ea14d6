//! FHIR REST: create, read, update, patch, delete and search of any resource type.
//!
//! Resources are kept as they come; nothing checks them against their definitions.

use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::access::Created;
use crate::http::Call;
use crate::outcome::{Outcome, fhir_json};
use crate::policy::Interaction;
use crate::search::Search;
use crate::server::Server;
use crate::store::{Edit, Name, text};
use crate::{binary, bots, history, operations};

/// Answers one request below `fhir/R4/`.
pub(crate) async fn route(server: &Arc<Server>, call: Call) -> Result<Response, Outcome> {
    let path = call.path.clone();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    match path.as_slice() {
        ["job", id, "status"] => operations::job::status(server, id, &call.method).await,
        ["Agent", operation] if operation.starts_with('$') => {
            operations::route(server, None, operation, call).await
        }
        ["Agent", id, operation] if operation.starts_with('$') => {
            operations::route(server, Some(id), operation, call).await
        }
        ["Bot", path @ ..] if path.iter().any(|part| part.starts_with('$')) => {
            bots::route(server, path, call).await
        }
        [kind, ..] if !is_type(kind) => Err(Outcome::not_found()),
        ["Binary"] if call.method == Method::POST => binary::create(server, call).await,
        ["Binary", id] if call.method == Method::GET => binary::read(server, &call.caller, id),
        [kind] => at_type(server, kind, call).await,
        [kind, id] => at_instance(server, Name::new(kind, id), call).await,
        [kind, id, "_history"] if call.method == Method::GET => {
            let name = Name::new(kind, id);
            call.caller.past(server, Interaction::History, &name)?;
            history::read(server, name, &call.query).await
        }
        [kind, id, "_history", version] if call.method == Method::GET => {
            let name = Name::new(kind, id);
            let found = call.caller.version(server, name, version).await?;
            Ok(answer(StatusCode::OK, &found))
        }
        _ => Err(Outcome::not_found()),
    }
}

async fn at_type(server: &Server, kind: &str, mut call: Call) -> Result<Response, Outcome> {
    match call.method {
        Method::GET => {
            let search = Search::parse(&call.query)?;
            let found = call.caller.find(server, kind, &search)?;
            let bundle = found.bundle(&server.base_url, kind, &call.query, &search);
            Ok(fhir_json(StatusCode::OK, &bundle))
        }
        Method::POST => {
            let mut resource = of_type(kind, call.json().await?)?;
            if let Some(members) = resource.as_object_mut() {
                // Ids are the server's to give.
                members.remove("id");
            }
            let condition = call.header(&IF_NONE_EXIST).to_owned();
            match call.caller.create(server, resource, &condition).await? {
                Created::Now(resource) => Ok(created_at(server, &resource)),
                Created::Before(resource) => Ok(answer(StatusCode::OK, &resource)),
            }
        }
        _ => Err(Outcome::method_not_allowed()),
    }
}

async fn at_instance(server: &Server, name: Name, mut call: Call) -> Result<Response, Outcome> {
    let if_match = version_of(call.header(&header::IF_MATCH));
    match call.method {
        Method::GET => {
            let resource = call.caller.read(server, &name.kind, &name.id)?;
            Ok(answer(StatusCode::OK, &resource))
        }
        Method::PUT => {
            let resource = of_type(&name.kind, call.json().await?)?;
            if text(&resource, "id") != name.id {
                return Err(Outcome::invalid("Incorrect ID"));
            }
            let edit = Edit::Replace(resource);
            let edited = call.caller.edit(server, name, if_match, edit).await?;
            Ok(answer(StatusCode::OK, &edited))
        }
        Method::PATCH => {
            let steps = serde_json::from_value(call.json().await?)
                .map_err(|_| Outcome::invalid("The patch is not a JSON Patch"))?;
            let edit = Edit::Patch(steps);
            let edited = call.caller.edit(server, name, if_match, edit).await?;
            Ok(answer(StatusCode::OK, &edited))
        }
        Method::DELETE => {
            call.caller.delete(server, name).await?;
            Ok(Outcome::all_ok().into_response())
        }
        _ => Err(Outcome::method_not_allowed()),
    }
}

/// A created resource, with where it is.
pub(crate) fn created_at(server: &Server, resource: &Value) -> Response {
    let (kind, id) = (text(resource, "resourceType"), text(resource, "id"));
    let location = [(
        header::LOCATION,
        format!("{}fhir/R4/{kind}/{id}", server.base_url),
    )];
    (location, answer(StatusCode::CREATED, resource)).into_response()
}

/// A resource with its version as `ETag` and its time as `Last-Modified`.
fn answer(status: StatusCode, resource: &Value) -> Response {
    let mut response = fhir_json(status, resource);
    let meta = |name| resource.pointer(name).and_then(Value::as_str);
    let etag = meta("/meta/versionId").map(|version| format!("W/\"{version}\""));
    let modified = meta("/meta/lastUpdated").and_then(http_date);
    let headers = [(header::ETAG, etag), (header::LAST_MODIFIED, modified)];
    for (name, text) in headers {
        if let Some(Ok(value)) = text.map(HeaderValue::try_from) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// An instant as HTTP writes it: to the second, in GMT.
fn http_date(instant: &str) -> Option<String> {
    let time: Timestamp = instant.parse().ok()?;
    let utc = time.to_zoned(TimeZone::UTC);
    Some(utc.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

fn of_type(kind: &str, resource: Value) -> Result<Value, Outcome> {
    let found = match text(&resource, "resourceType") {
        "" => "<EMPTY>",
        found if found == kind => return Ok(resource),
        found => found,
    };
    Err(Outcome::invalid(format!(
        "Incorrect resource type: expected {kind}, but found {found}"
    )))
}

/// The version that an `If-Match` header names.
fn version_of(if_match: &str) -> Option<String> {
    let version = if_match.trim();
    let version = version
        .strip_prefix("W/")
        .unwrap_or(version)
        .trim_matches('"');
    (!version.is_empty()).then(|| version.to_owned())
}

fn is_type(kind: &str) -> bool {
    kind.starts_with(|first: char| first.is_ascii_uppercase())
        && kind.chars().all(|letter| letter.is_ascii_alphanumeric())
}

const IF_NONE_EXIST: HeaderName = HeaderName::from_static("if-none-exist");
