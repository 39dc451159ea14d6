//! `GET TYPE/ID/_history`: the versions of one resource, the newest first. Bots tell by it whether an order is a new one.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::http::Query;
use crate::outcome::{Outcome, fhir_json};
use crate::search::number;
use crate::server::Server;
use crate::store::{Name, Page, Version};

pub(crate) async fn read(server: &Server, name: Name, query: &Query) -> Result<Response, Outcome> {
    let given = |key, default| {
        query
            .value(key)
            .map_or(Ok(default), |value| number(key, value))
    };
    let page = Page {
        offset: given("_offset", 0)?,
        count: given("_count", COUNT)?.min(MAX_COUNT),
    };
    let versions = server.store.history(name.clone(), page).await?;
    if versions.is_empty() && page.offset == 0 {
        return Err(Outcome::not_found());
    }
    let url = format!("{}/{}", name.kind, name.id);
    let entries = versions.into_iter();
    let entries = entries.map(|version| entry(&server.base_url, &url, version));
    let bundle = json!({
        "resourceType": "Bundle",
        "type": "history",
        "entry": entries.collect::<Vec<_>>(),
    });
    Ok(fhir_json(StatusCode::OK, &bundle))
}

fn entry(base_url: &str, url: &str, version: Version) -> Value {
    let status = if version.body.is_some() { "200" } else { "410" };
    let mut entry = json!({
        "fullUrl": format!("{base_url}fhir/R4/{url}"),
        "request": { "method": "GET", "url": format!("{url}/_history/{}", version.id) },
        "response": { "status": status },
    });
    if let Some(body) = version.body {
        entry["resource"] = body;
    }
    entry
}

/// As on a real server.
const COUNT: usize = 100;
const MAX_COUNT: usize = 1_000;
