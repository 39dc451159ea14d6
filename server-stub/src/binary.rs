//! Binaries: raw bytes in, raw bytes out.

use std::sync::Arc;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::access::Created;
use crate::fhir::created_at;
use crate::http::Call;
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::server::Server;
use crate::store::text;

/// Keeps the body, whatever it is. A FHIR Binary in JSON is taken as that.
pub(crate) async fn create(server: &Arc<Server>, mut call: Call) -> Result<Response, Outcome> {
    let content_type = call.header(&header::CONTENT_TYPE).to_owned();
    let binary = if content_type.starts_with("application/fhir+json") {
        call.json().await?
    } else {
        let data = STANDARD.encode(call.bytes(MAX_BINARY).await?);
        json!({ "resourceType": "Binary", "contentType": content_type, "data": data })
    };
    if text(&binary, "resourceType") != "Binary" {
        return Err(Outcome::invalid("Incorrect resource type: expected Binary"));
    }
    let created = match call.caller.create(server, binary, "").await? {
        Created::Now(created) | Created::Before(created) => created,
    };
    let mut shown = without_data(&created);
    shown["url"] = json!(format!(
        "{}fhir/R4/Binary/{}",
        server.base_url,
        text(&created, "id")
    ));
    Ok(created_at(server, &shown))
}

/// The bytes, under the content type that they came with.
pub(crate) fn read(server: &Server, caller: &Caller, id: &str) -> Result<Response, Outcome> {
    let binary = caller.read(server, "Binary", id)?;
    let data = STANDARD
        .decode(text(&binary, "data"))
        .map_err(|_| Outcome::failed())?;
    let content_type = match text(&binary, "contentType") {
        "" => "application/octet-stream".to_owned(),
        known => known.to_owned(),
    };
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, content_type)], data).into_response())
}

fn without_data(binary: &Value) -> Value {
    let mut shown = binary.clone();
    if let Some(members) = shown.as_object_mut() {
        members.remove("data");
    }
    shown
}

const MAX_BINARY: usize = 32 * 1024 * 1024;
