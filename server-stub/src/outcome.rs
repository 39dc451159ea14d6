//! FHIR `OperationOutcome`s, with the ids that Medplum's clients look at: they take an outcome for success only if its
//! `id` says so. A plain bad request has no id on a real server, and so it has none here.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An answer of which the HTTP status, the outcome's id and its one issue are known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: StatusCode,
    id: Option<&'static str>,
    severity: &'static str,
    code: &'static str,
    text: Cow<'static, str>,
    diagnostics: Option<String>,
}

impl Outcome {
    pub(crate) fn all_ok() -> Self {
        Self::good(StatusCode::OK, "ok", "All OK")
    }

    /// Accepted; `url` says where to ask how it went.
    pub(crate) fn accepted(url: String) -> Self {
        let accepted = Self::good(StatusCode::ACCEPTED, "accepted", "Accepted");
        Self {
            diagnostics: Some(url),
            ..accepted
        }
    }

    /// A request that cannot be carried out as it is.
    pub(crate) fn invalid(text: impl Into<Cow<'static, str>>) -> Self {
        Self::bad(StatusCode::BAD_REQUEST, None, "invalid", text.into())
    }

    pub(crate) fn timeout() -> Self {
        Self::invalid("Timeout")
    }

    pub(crate) fn unauthorized() -> Self {
        Self::refused(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "login",
            "Unauthorized",
        )
    }

    pub(crate) fn forbidden() -> Self {
        Self::refused(StatusCode::FORBIDDEN, "forbidden", "forbidden", "Forbidden")
    }

    pub(crate) fn not_found() -> Self {
        Self::refused(StatusCode::NOT_FOUND, "not-found", "not-found", "Not found")
    }

    pub(crate) fn gone() -> Self {
        Self::refused(StatusCode::GONE, "gone", "deleted", "Gone")
    }

    pub(crate) fn conflict() -> Self {
        let text = "There is a resource with this id already";
        Self::refused(StatusCode::CONFLICT, "conflict", "conflict", text)
    }

    pub(crate) fn precondition_failed() -> Self {
        let (id, text) = ("precondition-failed", "Precondition Failed");
        Self::refused(StatusCode::PRECONDITION_FAILED, id, "processing", text)
    }

    pub(crate) fn multiple_matches() -> Self {
        let text = "Multiple resources found matching condition";
        let (id, status) = ("multiple-matches", StatusCode::PRECONDITION_FAILED);
        Self::refused(status, id, id, text)
    }

    pub(crate) fn too_large() -> Self {
        let text = "Request body too large".into();
        Self::bad(StatusCode::PAYLOAD_TOO_LARGE, None, "too-long", text)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let text = "This path does not take this method".into();
        Self::bad(StatusCode::METHOD_NOT_ALLOWED, None, "not-supported", text)
    }

    pub(crate) fn throttled() -> Self {
        let (id, text) = ("too-many-requests", "Too Many Requests");
        Self::refused(StatusCode::TOO_MANY_REQUESTS, id, "throttled", text)
    }

    /// Our own failure. The reason is in the log, not in the answer.
    pub(crate) fn failed() -> Self {
        let text = "Internal server error".into();
        Self::bad(StatusCode::INTERNAL_SERVER_ERROR, None, "exception", text)
    }

    /// Any other status that a test asks for.
    pub(crate) fn with_status(status: StatusCode) -> Self {
        match status {
            StatusCode::TOO_MANY_REQUESTS => Self::throttled(),
            StatusCode::PRECONDITION_FAILED => Self::precondition_failed(),
            _ => Self {
                status,
                ..Self::failed()
            },
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The outcome as a FHIR resource.
    pub(crate) fn resource(&self) -> Value {
        let mut issue = json!({
            "severity": self.severity, "code": self.code, "details": { "text": self.text },
        });
        if let Some(diagnostics) = &self.diagnostics {
            issue["diagnostics"] = json!(diagnostics);
        }
        let mut outcome = json!({ "resourceType": "OperationOutcome", "issue": [issue] });
        if let Some(id) = self.id {
            outcome["id"] = json!(id);
        }
        outcome
    }

    fn extra_header(&self) -> Option<(HeaderName, HeaderValue)> {
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let realm = HeaderValue::from_static("Bearer realm=\"wardpost-cloud\"");
                Some((header::WWW_AUTHENTICATE, realm))
            }
            StatusCode::ACCEPTED => {
                let url = HeaderValue::from_str(self.diagnostics.as_deref()?).ok()?;
                Some((header::CONTENT_LOCATION, url))
            }
            _ => None,
        }
    }

    fn good(status: StatusCode, id: &'static str, text: &'static str) -> Self {
        let (severity, code) = ("information", "informational");
        Self {
            status,
            id: Some(id),
            severity,
            code,
            text: text.into(),
            diagnostics: None,
        }
    }

    fn refused(
        status: StatusCode,
        id: &'static str,
        code: &'static str,
        text: &'static str,
    ) -> Self {
        Self::bad(status, Some(id), code, text.into())
    }

    fn bad(
        status: StatusCode,
        id: Option<&'static str>,
        code: &'static str,
        text: Cow<'static, str>,
    ) -> Self {
        Self {
            status,
            id,
            severity: "error",
            code,
            text,
            diagnostics: None,
        }
    }
}

impl IntoResponse for Outcome {
    fn into_response(self) -> Response {
        let mut response = fhir_json(self.status, &self.resource());
        if let Some((name, value)) = self.extra_header() {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// A FHIR resource as an HTTP response.
pub(crate) fn fhir_json(status: StatusCode, resource: &Value) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/fhir+json; charset=utf-8")];
    (status, content_type, resource.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_know_success_by_the_id() {
        assert_eq!(Outcome::all_ok().resource()["id"], "ok");
        assert_eq!(Outcome::accepted("u".into()).resource()["id"], "accepted");
        assert_eq!(Outcome::invalid("no").resource().get("id"), None);
    }

    #[test]
    fn an_unauthorized_caller_is_told_how_to_authenticate() {
        let response = Outcome::unauthorized().into_response();
        assert!(response.headers().contains_key(header::WWW_AUTHENTICATE));
    }
}
