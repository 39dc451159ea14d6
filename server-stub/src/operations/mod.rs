//! The operations on Agent: `$push`, `$status`, `$bulk-status`, `$reload-config`, `$stats`, `$fetch-logs`, `$upgrade`.

mod destination;
pub(crate) mod job;
mod push;
mod question;
mod status;

use std::sync::Arc;

use axum::http::Method;
use axum::response::Response;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::http::{Call, Query};
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::search::Search;
use crate::server::Server;

/// Answers one operation, on the agent with this id or on those that the query finds.
pub(crate) async fn route(
    server: &Arc<Server>,
    id: Option<&str>,
    operation: &str,
    call: Call,
) -> Result<Response, Outcome> {
    match (call.method.clone(), operation) {
        (Method::POST, "$push") => push::push(server, id, call).await,
        (Method::GET, "$status") => status::one(server, id, &call),
        (Method::GET, "$bulk-status") if id.is_none() => {
            status::bulk(server, &call.caller, &call.query).await
        }
        (Method::GET, operation) => {
            question::ask(server, &call.caller, (id, operation), &call.query).await
        }
        _ => Err(Outcome::not_found()),
    }
}

/// The one agent that is meant.
fn agent(
    server: &Server,
    caller: &Caller,
    id: Option<&str>,
    query: &Query,
) -> Result<Arc<Value>, Outcome> {
    if let Some(id) = id {
        return caller.read(server, "Agent", id);
    }
    let nobody = || Outcome::invalid("Must specify agent ID or identifier");
    let identifier = query
        .value("identifier")
        .filter(|wanted| !wanted.is_empty());
    let wanted = (
        "identifier".to_owned(),
        identifier.ok_or_else(nobody)?.to_owned(),
    );
    let found = caller.find(server, "Agent", &Search::parse(&Query(vec![wanted]))?)?;
    found.page.into_iter().next().ok_or_else(nobody)
}

/// Every agent that a search finds.
fn agents(server: &Server, caller: &Caller, search: &Search) -> Result<Vec<Arc<Value>>, Outcome> {
    let agents = caller.find(server, "Agent", search)?.page;
    if agents.is_empty() {
        return Err(Outcome::invalid("No agent(s) for given query"));
    }
    Ok(agents)
}

/// Asks all agents at once. A failure stays in its own entry.
async fn bundle<F>(agents: Vec<Arc<Value>>, ask: impl Fn(Arc<Value>) -> F) -> Value
where
    F: Future<Output = Result<Value, Outcome>>,
{
    let entries = agents.into_iter().map(|agent| {
        let answer = ask(Arc::clone(&agent));
        async move {
            let result = answer.await.unwrap_or_else(|outcome| outcome.resource());
            json!({ "resource": parameters(&[
                json!({ "name": "agent", "resource": *agent }),
                json!({ "name": "result", "resource": result }),
            ]) })
        }
    });
    json!({ "resourceType": "Bundle", "type": "collection", "entry": join_all(entries).await })
}

fn parameters(parameter: &[Value]) -> Value {
    json!({ "resourceType": "Parameters", "parameter": parameter })
}
