//! The paths, the limits of a body, and the parts of a request that handlers look at.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tracing::debug;

use crate::faults::When;
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::server::Server;
use crate::{agents, bots, fhir, oauth};

/// One authenticated FHIR request.
pub(crate) struct Call {
    pub(crate) method: Method,
    /// Segments below `fhir/R4/`, percent-decoded.
    pub(crate) path: Vec<String>,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    /// Path and query as they came.
    pub(crate) target: String,
    pub(crate) caller: Arc<Caller>,
    body: Body,
}

/// Query parameters in their order.
#[derive(Clone, Default)]
pub(crate) struct Query(pub(crate) Vec<(String, String)>);

pub(crate) fn router(server: Arc<Server>) -> Router {
    Router::new()
        .merge(routes())
        .nest("/api", routes())
        .fallback(agents::upgrade)
        .with_state(server)
}

fn routes() -> Router<Arc<Server>> {
    Router::new()
        .route(
            "/healthcheck",
            get(async || axum::Json(json!({ "ok": true, "version": VERSION }))),
        )
        .route("/oauth2/token", post(oauth::token))
        .route("/auth/me", get(oauth::me))
        .route(
            "/admin/projects/{id}/bot",
            post(bots::create_with_membership),
        )
        .route("/fhir/R4/{*path}", any(fhir_request))
}

async fn fhir_request(
    State(server): State<Arc<Server>>,
    Path(path): Path<String>,
    request: Request,
) -> Response {
    match Call::new(&server, &path, request) {
        Ok(call) => answer(&server, call).await,
        Err(outcome) => outcome.into_response(),
    }
}

/// Answers a request, or what a test wants to come instead of the answer.
pub(crate) async fn answer(server: &Arc<Server>, call: Call) -> Response {
    let method = call.method.clone();
    let kind = call.path.first().cloned().unwrap_or_default();
    let fault = server.faults().take_fhir_fault(method.as_str(), &kind);
    if let Some((When::Before, instead)) = fault {
        return instead.answer(&server.stop).await;
    }
    let answered = fhir::route(server, call).await;
    let answered = answered.unwrap_or_else(IntoResponse::into_response);
    debug!(%method, kind, status = %answered.status(), "answered");
    match fault {
        Some((_, instead)) => instead.answer(&server.stop).await,
        None => answered,
    }
}

impl Call {
    pub(crate) fn new(server: &Server, path: &str, request: Request) -> Result<Self, Outcome> {
        let (parts, body) = request.into_parts();
        let caller = oauth::authenticate(server, &parts.headers)?;
        Ok(Self::of(
            Arc::new(caller),
            path,
            Request::from_parts(parts, body),
        ))
    }

    /// A request of a caller who is known.
    pub(crate) fn of(caller: Arc<Caller>, path: &str, request: Request) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            method: parts.method,
            path: path
                .split('/')
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect(),
            query: Query::parse(parts.uri.query().unwrap_or_default()),
            target: parts
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            headers: parts.headers,
            caller,
            body,
        }
    }

    /// The body as JSON; no body is an empty object.
    pub(crate) async fn json(&mut self) -> Result<Value, Outcome> {
        let bytes = self.bytes(MAX_JSON).await?;
        if bytes.is_empty() {
            return Ok(json!({}));
        }
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        value
            .filter(|value| value.is_object() || value.is_array())
            .ok_or_else(|| Outcome::invalid(UNREADABLE))
    }

    pub(crate) async fn bytes(&mut self, limit: usize) -> Result<Bytes, Outcome> {
        read_body(std::mem::take(&mut self.body), limit).await
    }

    /// A header's text, or the empty one.
    pub(crate) fn header(&self, name: &header::HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            url::form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The query less some parameters.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let rest = self
            .0
            .iter()
            .filter(|(key, _)| !names.contains(&key.as_str()));
        Self(rest.cloned().collect())
    }
}

/// Reads a body up to a limit. What is over it is read and thrown away, so that the sender sees the refusal and not a reset.
pub(crate) async fn read_body(mut body: Body, limit: usize) -> Result<Bytes, Outcome> {
    let mut bytes = Vec::new();
    let mut total = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Outcome::invalid(UNREADABLE))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        total += data.len();
        if total <= limit {
            bytes.extend_from_slice(&data);
        } else if total > limit + MAX_WASTE {
            break;
        }
    }
    if total > limit {
        Err(Outcome::too_large())
    } else {
        Ok(bytes.into())
    }
}

/// A real server's version has seven hex digits of a commit at the end; tools compare what is before.
pub(crate) const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-0000000");

/// The size of any JSON body, and of a websocket message.
pub(crate) const MAX_JSON: usize = 1024 * 1024;

const MAX_WASTE: usize = 32 * 1024 * 1024;

const UNREADABLE: &str = "Content could not be parsed";
