//! What an agent is asked about itself: `$reload-config`, `$stats`, `$fetch-logs`, `$upgrade`.

use std::sync::Arc;
use std::time::Duration;

use agent_wire::{ToAgent, ToServer};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use super::{agents, bundle, parameters};
use crate::http::Query;
use crate::oauth::Caller;
use crate::outcome::{Outcome, fhir_json};
use crate::search::Search;
use crate::server::Server;
use crate::store::text;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Question {
    Reload,
    Stats,
    Logs {
        limit: Option<i64>,
    },
    Upgrade {
        version: Option<String>,
        force: bool,
        patience: Duration,
    },
}

/// Asks one agent, or all that the query finds.
pub(super) async fn ask(
    server: &Arc<Server>,
    caller: &Caller,
    (id, operation): (Option<&str>, &str),
    query: &Query,
) -> Result<Response, Outcome> {
    let question = Question::parse(operation, query)?;
    let result = if let Some(id) = id {
        let agent = caller.read(server, "Agent", id)?;
        question.put_to(server, &agent).await?
    } else {
        let search = Search::parse(&query.without(OWN_PARAMETERS))?;
        ask_all(server, caller, &question, &search).await?
    };
    Ok(fhir_json(StatusCode::OK, &result))
}

async fn ask_all(
    server: &Arc<Server>,
    caller: &Caller,
    question: &Question,
    search: &Search,
) -> Result<Value, Outcome> {
    if let Some(count) = search.count.filter(|count| *count > MAX_AGENTS) {
        let text = format!("'_count' of {count} is greater than max of {MAX_AGENTS}");
        return Err(Outcome::invalid(text));
    }
    let agents = agents(server, caller, search)?;
    Ok(bundle(agents, |agent| async move {
        question.put_to(server, &agent).await
    })
    .await)
}

impl Question {
    fn parse(operation: &str, query: &Query) -> Result<Self, Outcome> {
        let number = |name| query.value(name).and_then(|value| value.parse().ok());
        Ok(match operation {
            "$reload-config" => Self::Reload,
            "$stats" => Self::Stats,
            "$fetch-logs" => Self::Logs {
                limit: number("limit"),
            },
            "$upgrade" => {
                let patience = number("timeout").map_or(UPGRADE_PATIENCE, |timeout| {
                    Duration::from_millis(u64::try_from(timeout).unwrap_or(0)).min(MAX_PATIENCE)
                });
                let version = query.value("version").map(str::to_owned);
                Self::Upgrade {
                    version,
                    force: query.value("force") == Some("true"),
                    patience,
                }
            }
            _ => return Err(Outcome::not_found()),
        })
    }

    async fn put_to(&self, server: &Server, agent: &Value) -> Result<Value, Outcome> {
        let message = |callback| self.message(callback);
        let answer = server
            .ask(text(agent, "id"), message, self.patience())
            .await?;
        self.result(answer)
    }

    fn message(&self, callback: Option<String>) -> ToAgent {
        match self {
            Self::Reload => ToAgent::ReloadRequest { callback },
            Self::Stats => ToAgent::StatsRequest { callback },
            Self::Logs { limit } => ToAgent::LogsRequest {
                callback,
                limit: *limit,
                before: None,
            },
            Self::Upgrade { version, force, .. } => ToAgent::UpgradeRequest {
                callback,
                version: version.clone(),
                force: *force,
            },
        }
    }

    fn patience(&self) -> Duration {
        match self {
            Self::Upgrade { patience, .. } => *patience,
            Self::Reload | Self::Stats | Self::Logs { .. } => PATIENCE,
        }
    }

    /// The answer as FHIR. An answer to another question is a failure.
    fn result(&self, answer: ToServer) -> Result<Value, Outcome> {
        match (self, answer) {
            (Self::Reload, ToServer::ReloadResponse { .. })
            | (Self::Upgrade { .. }, ToServer::UpgradeResponse { .. }) => {
                Ok(Outcome::all_ok().resource())
            }
            (Self::Stats, ToServer::StatsResponse { stats, .. }) => Ok(parameters(&[
                json!({ "name": "stats", "valueString": stats.to_string() }),
            ])),
            (Self::Logs { .. }, ToServer::LogsResponse { page, .. }) => {
                let lines: Vec<_> = page.logs.iter().map(ToString::to_string).collect();
                Ok(parameters(&[
                    json!({ "name": "logs", "valueString": lines.join("\n") }),
                ]))
            }
            _ => Err(Outcome::failed()),
        }
    }
}

/// Parameters of the operation itself; the rest is the search.
const OWN_PARAMETERS: &[&str] = &["limit", "version", "timeout", "force"];
const MAX_AGENTS: usize = 100;
const PATIENCE: Duration = Duration::from_secs(5);
const UPGRADE_PATIENCE: Duration = Duration::from_secs(45);
const MAX_PATIENCE: Duration = Duration::from_secs(56);
