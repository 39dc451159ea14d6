//! Who is calling: access tokens by client credentials, and Basic authentication.
//!
//! There are no users, no browser logins and no refresh tokens: clients log in again, as client-credentials clients of a
//! real server do too.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::info;
use uuid::Uuid;

use crate::http::{MAX_JSON, Query, read_body};
use crate::jwt::Claims;
use crate::outcome::Outcome;
use crate::policy::{self, Policy};
use crate::server::Server;
use crate::store::text;

/// Who does something: an authenticated client, or a Bot that runs.
pub(crate) struct Caller {
    /// Its `ClientApplication` or `Bot`.
    profile: Arc<Value>,
    pub(crate) policy: Arc<Policy>,
}

/// A refusal in OAuth's words. Always a 400, as on a real server.
struct Refusal(&'static str);

/// `POST /oauth2/token`
pub(crate) async fn token(
    State(server): State<Arc<Server>>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if let Some(response) = scripted_refusal(&server) {
        return response;
    }
    let instead = server.faults().instead_of_tokens;
    if let Some(instead) = instead {
        return instead.answer(&server.stop).await;
    }
    let form = header_text(&headers, &header::CONTENT_TYPE);
    if !form.starts_with("application/x-www-form-urlencoded") {
        return (StatusCode::BAD_REQUEST, "Unsupported content type").into_response();
    }
    let body = match read_body(body, MAX_JSON).await {
        Ok(body) => body,
        Err(outcome) => return outcome.into_response(),
    };
    let form = Query::parse(&String::from_utf8_lossy(&body));
    match grant(&server, &headers, &form) {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => {
            info!(reason = refusal.0, "a token is refused");
            refusal.into_response()
        }
    }
}

/// `GET /auth/me`
pub(crate) async fn me(State(server): State<Arc<Server>>, headers: HeaderMap) -> Response {
    match authenticate(&server, &headers) {
        Ok(caller) => axum::Json(caller.session(&server)).into_response(),
        Err(outcome) => outcome.into_response(),
    }
}

/// Finds the client by its token, or by its id and secret.
pub(crate) fn authenticate(server: &Server, headers: &HeaderMap) -> Result<Caller, Outcome> {
    let authorization = header_text(headers, &header::AUTHORIZATION);
    let caller = match authorization.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => {
            Caller::by_token(server, token.trim())
        }
        Some((scheme, _)) if scheme.eq_ignore_ascii_case("basic") => basic(authorization)
            .and_then(|(id, secret)| Caller::by_secret(server, &id, &secret).ok()),
        _ => None,
    };
    caller.ok_or_else(Outcome::unauthorized)
}

impl Caller {
    pub(crate) fn by_token(server: &Server, token: &str) -> Option<Self> {
        let claims = server.signer.verify(token, Timestamp::now().as_second())?;
        active_client(server, &claims.client_id).map(|client| Self::of(server, client))
    }

    fn by_secret(server: &Server, id: &str, secret: &str) -> Result<Self, Refusal> {
        let client = active_client(server, id).ok_or(Refusal("Invalid client"))?;
        let known: Vec<_> = ["secret", "retiringSecret"]
            .into_iter()
            .map(|member| text(&client, member))
            .filter(|secret| !secret.is_empty())
            .collect();
        if known.is_empty() {
            return Err(Refusal("Invalid client"));
        }
        // Both are compared, whatever the first comparison says.
        let right = known
            .iter()
            .filter(|known| server.signer.same(known, secret))
            .count()
            > 0;
        if right {
            Ok(Self::of(server, client))
        } else {
            Err(Refusal("Invalid secret"))
        }
    }

    /// A profile with what its membership allows it.
    pub(crate) fn of(server: &Server, profile: Arc<Value>) -> Self {
        let reference = reference(&profile);
        let membership = membership(server, &reference);
        let policy = Policy::of(&server.store.current, &reference, membership.as_deref());
        Self {
            profile,
            policy: Arc::new(policy),
        }
    }

    /// Such as `ClientApplication/7c2e`.
    pub(crate) fn reference(&self) -> String {
        reference(&self.profile)
    }

    fn id(&self) -> &str {
        text(&self.profile, "id")
    }

    /// What a client is shown of itself: not its secrets.
    fn session(&self, server: &Server) -> Value {
        let project = project(server);
        let mut profile = (*self.profile).clone();
        if let Some(members) = profile.as_object_mut() {
            members.remove("secret");
            members.remove("retiringSecret");
        }
        let reference = self.reference();
        let membership = membership(server, &reference);
        let limits = membership
            .as_deref()
            .and_then(|membership| policy::limits(&server.store.current, membership));
        let id = membership.map(|membership| text(&membership, "id").to_owned());
        json!({
            "project": { "resourceType": "Project", "id": text(&project, "id"), "name": text(&project, "name") },
            "membership": {
                "resourceType": "ProjectMembership",
                "id": id,
                "user": { "reference": reference },
                "profile": { "reference": reference },
            },
            "profile": profile,
            "config": { "resourceType": "UserConfiguration", "menu": [] },
            "accessPolicy": { "resourceType": "AccessPolicy", "resource": limits.unwrap_or_else(|| vec![json!({ "resourceType": "*" })]) },
        })
    }
}

fn grant(server: &Server, headers: &HeaderMap, form: &Query) -> Result<Value, Refusal> {
    let field = |name| {
        form.value(name)
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
    };
    match field("grant_type").as_deref() {
        None => return Err(Refusal("Missing grant_type")),
        Some("client_credentials") => {}
        Some(_) => return Err(Refusal("Unsupported grant_type")),
    }
    // The header wins over the form.
    let (id, secret) = match basic(header_text(headers, &header::AUTHORIZATION)) {
        Some((id, secret)) => (Some(id), Some(secret)),
        None => (field("client_id"), field("client_secret")),
    };
    let id = id.ok_or(Refusal("Missing client_id"))?;
    let secret = secret.ok_or(Refusal("Missing client_secret"))?;
    Ok(login(server, &Caller::by_secret(server, &id, &secret)?))
}

/// A token and what a real server says with it.
fn login(server: &Server, caller: &Caller) -> Value {
    let lifetime = lifetime(text(&caller.profile, "accessTokenLifetime"))
        .unwrap_or(server.settings.token_lifetime);
    let token = server.signer.sign(&claims(server, caller.id(), lifetime));
    let project = project(server);
    info!(client = caller.id(), "a client logs in");
    json!({
        "token_type": "Bearer",
        "expires_in": lifetime.as_secs(),
        "scope": "openid",
        "id_token": token,
        "access_token": token,
        "project": {
            "reference": format!("Project/{}", text(&project, "id")),
            "display": text(&project, "name"),
        },
        "profile": {
            "reference": format!("ClientApplication/{}", caller.id()),
            "display": text(&caller.profile, "name"),
        },
        "smart_style_url": format!("{}fhir/R4/.well-known/smart-styles.json", server.base_url),
        "need_patient_banner": false,
    })
}

fn claims(server: &Server, client: &str, lifetime: Duration) -> Claims {
    let now = Timestamp::now().as_second();
    Claims {
        client_id: client.to_owned(),
        login_id: Uuid::new_v4().to_string(),
        sub: client.to_owned(),
        username: client.to_owned(),
        scope: "openid".to_owned(),
        profile: format!("ClientApplication/{client}"),
        iss: server.base_url.clone(),
        aud: client.to_owned(),
        jti: Uuid::new_v4().to_string(),
        iat: now,
        nbf: now,
        exp: now.saturating_add_unsigned(lifetime.as_secs()),
        generation: 0,
    }
}

fn active_client(server: &Server, id: &str) -> Option<Arc<Value>> {
    let client = server.read("ClientApplication", id).ok()?;
    let active = matches!(text(&client, "status"), "" | "active");
    active.then_some(client)
}

pub(crate) fn project(server: &Server) -> Arc<Value> {
    let projects = server.store.current.find("Project", |_| true);
    projects.into_iter().next().unwrap_or_default()
}

fn reference(profile: &Value) -> String {
    format!("{}/{}", text(profile, "resourceType"), text(profile, "id"))
}

pub(crate) fn membership(server: &Server, profile: &str) -> Option<Arc<Value>> {
    let memberships = server
        .store
        .current
        .find("ProjectMembership", |membership| {
            membership
                .pointer("/profile/reference")
                .and_then(Value::as_str)
                == Some(profile)
        });
    memberships.into_iter().next()
}

fn scripted_refusal(server: &Server) -> Option<Response> {
    let status = server.faults().take_token_refusal()?;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Some(match status {
        StatusCode::BAD_REQUEST => Refusal("Invalid client").into_response(),
        status => Outcome::with_status(status).into_response(),
    })
}

fn basic(authorization: &str) -> Option<(String, String)> {
    let (scheme, encoded) = authorization.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    Some((id.to_owned(), secret.to_owned()))
}

/// Reads `<digits><s|m|h|d|w|y>`.
fn lifetime(text: &str) -> Option<Duration> {
    let unit = text.chars().next_back()?;
    let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        'y' => 365 * 86_400,
        _ => return None,
    };
    Some(Duration::from_secs(number.saturating_mul(seconds)))
}

fn header_text<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = json!({ "error": "invalid_request", "error_description": self.0 });
        (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_digits_and_a_unit() {
        assert_eq!(lifetime("90s"), Some(Duration::from_secs(90)));
        assert_eq!(lifetime("1h"), Some(Duration::from_hours(1)));
        for wrong in ["", "h", "1", "1x", "-1h", "1é"] {
            assert_eq!(lifetime(wrong), None, "{wrong}");
        }
    }
}
