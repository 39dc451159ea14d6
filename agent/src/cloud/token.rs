//! The access token: client credentials for a while of trust.
//!
//! The token is opaque; its life is what the server says it is, counted on our own clock, so that a box
//! in the wrong year still connects. The secret appears in no error and no log.

use std::time::Duration;

use agent_core::clock::CloudTime;
use agent_core::retry::AskedWait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::http::{HttpAnswer, HttpClient, HttpError};
use super::settings::digest;
use super::{beneath, headers, quoted};
use crate::clock;
use crate::secret::{Secret, SecretError};

/// Who we are to the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials {
    /// `ClientApplication.id`.
    pub client: String,
    /// Read for each token, so that a new one needs no restart.
    pub secret: Secret,
}

/// Client and secret for one request.
#[derive(Debug)]
pub(super) struct Login {
    client: String,
    secret: SecretString,
}

/// What the server gave.
#[derive(Clone, Debug)]
pub struct AccessToken {
    pub text: SecretString,
    pub lifetime: Duration,
    /// What time it is there.
    pub time: Option<CloudTime>,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("there is no secret for the client {client}")]
    NoSecret { client: String, source: SecretError },
    #[error("the secret of the client {client} is empty")]
    SecretEmpty { client: String },
    #[error("stopped while reading the client's secret")]
    Stopped,
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the server does not know this client or its secret: {detail} (HTTP {status})")]
    Refused { status: u16, detail: String },
    #[error("there is no token endpoint at {url} (HTTP 404); is [cloud] url right?")]
    Missing { url: Url },
    #[error("the server wants fewer requests (HTTP 429)")]
    TooMany { asked: AskedWait },
    #[error("the server cannot give a token now (HTTP {status})")]
    Unable { status: u16, asked: AskedWait },
    #[error(
        "the token endpoint sends us to {location} (HTTP {status}); is a captive portal in the way, or [cloud] url wrong?"
    )]
    Redirected { status: u16, location: String },
    #[error(
        "a page came instead of a token (HTTP 200); is a captive portal in the way, or [cloud] url wrong?"
    )]
    NotJson,
    #[error("the token endpoint's answer holds no access_token")]
    NoToken,
}

impl TokenError {
    /// For how long the server asked to be left alone.
    pub fn asked(&self) -> AskedWait {
        match self {
            Self::TooMany { asked } | Self::Unable { asked, .. } => *asked,
            Self::Http(_)
            | Self::Refused { .. }
            | Self::Missing { .. }
            | Self::Redirected { .. }
            | Self::NotJson
            | Self::NoToken
            | Self::NoSecret { .. }
            | Self::SecretEmpty { .. }
            | Self::Stopped => AskedWait::Nothing,
        }
    }
}

impl AccessToken {
    /// Asks `{base}oauth2/token` for a token.
    pub async fn fetch(
        http: &HttpClient,
        base: &Url,
        credentials: &Credentials,
    ) -> Result<Self, TokenError> {
        let reading = credentials.clone();
        let login = tokio::task::spawn_blocking(move || reading.read());
        let login = login.await.map_err(|_| TokenError::Stopped)??;
        let url = beneath(base, &["oauth2", "token"]);
        let asked = clock::mono();
        let answer = http.post_form(&url, login.form()).await?;
        match answer.status {
            200 => Ok(Self {
                time: headers::time(answer.date, asked),
                ..Self::parse(&answer.body)?
            }),
            _ => Err(login.refusal(url, answer)),
        }
    }

    fn parse(body: &[u8]) -> Result<Self, TokenError> {
        let answer: Value = serde_json::from_slice(body).map_err(|_| TokenError::NotJson)?;
        let text = answer["access_token"]
            .as_str()
            .filter(|text| !text.is_empty());
        let text = text.ok_or(TokenError::NoToken)?;
        Ok(Self {
            text: text.into(),
            lifetime: lifetime(&answer["expires_in"]),
            time: None,
        })
    }
}

impl Credentials {
    /// Reads the secret.
    pub(super) fn read(&self) -> Result<Login, TokenError> {
        let client = || self.client.clone();
        let secret = self.secret.read().map_err(|source| TokenError::NoSecret {
            client: client(),
            source,
        })?;
        if secret.expose_secret().is_empty() {
            return Err(TokenError::SecretEmpty { client: client() });
        }
        Ok(Login {
            client: client(),
            secret,
        })
    }
}

impl Login {
    /// Tells one secret from another without showing either.
    pub(super) fn digest(&self) -> [u8; 32] {
        digest(self.secret.expose_secret().as_bytes())
    }

    fn form(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &self.client)
            .append_pair("client_secret", self.secret.expose_secret())
            .finish()
    }

    fn refusal(&self, url: Url, answer: HttpAnswer) -> TokenError {
        match answer.status {
            status @ 300..=399 => {
                let location = quoted(&answer.location.unwrap_or_else(|| "elsewhere".into()));
                TokenError::Redirected { status, location }
            }
            404 => TokenError::Missing { url },
            429 => TokenError::TooMany {
                asked: answer.asked,
            },
            status @ 400..=499 => TokenError::Refused {
                status,
                detail: self.detail(&answer.body),
            },
            status => TokenError::Unable {
                status,
                asked: answer.asked,
            },
        }
    }

    /// The server's own words, unless they quote the secret.
    fn detail(&self, body: &[u8]) -> String {
        let json: Value = serde_json::from_slice(body).unwrap_or_default();
        let description = json["error_description"]
            .as_str()
            .or(json["error"].as_str());
        let secret = self.secret.expose_secret();
        match description {
            Some(words) if !secret.is_empty() && words.contains(secret) => "no reason given".into(),
            Some(words) => quoted(words),
            None => "no reason given".into(),
        }
    }
}

/// `expires_in`: seconds, as a number or, from some, as a string.
fn lifetime(expires_in: &Value) -> Duration {
    let spelled = || expires_in.as_str()?.trim().parse().ok();
    let seconds: Option<f64> = expires_in.as_f64().or_else(spelled);
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .map_or(USUAL_LIFETIME, |life| life.min(LONGEST_LIFETIME))
}

/// What Medplum gives where nothing else is set.
const USUAL_LIFETIME: Duration = Duration::from_hours(1);
/// Longer promises are not believed: a client's secret may be changed any day.
const LONGEST_LIFETIME: Duration = Duration::from_hours(30 * 24);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cloud::told;

    fn login() -> Login {
        Login {
            client: "client-1".into(),
            secret: "s=&cr%t".into(),
        }
    }

    fn refusal(status: u16, body: &str) -> String {
        let answer = HttpAnswer {
            status,
            location: None,
            content_type: String::new(),
            asked: AskedWait::Nothing,
            date: None,
            body: body.into(),
        };
        let url = Url::parse("https://cloud.example/oauth2/token").unwrap();
        login().refusal(url, answer).to_string()
    }

    #[test]
    fn a_secret_with_any_character_survives_the_form() {
        let expected =
            "grant_type=client_credentials&client_id=client-1&client_secret=s%3D%26cr%25t";
        assert_eq!(login().form(), expected);
    }

    #[test]
    fn a_secret_that_is_not_there_is_said_in_words_and_found_when_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client-secret");
        let at = |secret| Credentials {
            client: "client-1".into(),
            secret,
        };
        let nowhere = at(Secret::Credential("no-such-thing".into())).read();
        let told = told(&nowhere.unwrap_err());
        assert!(
            told.starts_with(
                "there is no secret for the client client-1: the credential no-such-thing"
            ),
            "{told}"
        );
        let credentials = at(Secret::File(path.clone()));
        assert!(matches!(
            credentials.read(),
            Err(TokenError::NoSecret { .. })
        ));
        std::fs::write(&path, "\n").unwrap();
        let empty = credentials.read().unwrap_err();
        assert!(empty.to_string().ends_with("is empty"), "{empty}");
        std::fs::write(&path, "s3cret\r\n").unwrap();
        let login = credentials.read().unwrap();
        assert_eq!(login.secret.expose_secret(), "s3cret");
    }

    #[test]
    fn a_wrong_secret_is_told_in_the_servers_words() {
        let body = r#"{"error":"invalid_request","error_description":"Invalid secret"}"#;
        let expected =
            "the server does not know this client or its secret: Invalid secret (HTTP 400)";
        assert_eq!(refusal(400, body), expected);
    }

    #[test]
    fn a_server_that_quotes_the_secret_is_not_quoted() {
        let told = refusal(
            400,
            r#"{"error":"invalid_request","error_description":"bad: s=&cr%t"}"#,
        );
        assert!(!told.contains("s=&cr%t"), "{told}");
        assert!(!format!("{:?}", login()).contains("s=&cr%t"));
    }

    #[test]
    fn every_refusal_is_a_sentence() {
        assert_eq!(
            refusal(429, "{}"),
            "the server wants fewer requests (HTTP 429)"
        );
        assert_eq!(
            refusal(502, "<html>"),
            "the server cannot give a token now (HTTP 502)"
        );
        assert!(
            refusal(404, "").starts_with("there is no token endpoint at https://cloud.example/")
        );
        assert!(refusal(302, "").contains("captive portal"));
        assert!(refusal(400, "<html>").ends_with("no reason given (HTTP 400)"));
    }

    #[test]
    fn a_page_instead_of_a_token_is_no_token() {
        assert!(matches!(
            AccessToken::parse(b"<html>log in"),
            Err(TokenError::NotJson)
        ));
        assert!(matches!(
            AccessToken::parse(b"{}"),
            Err(TokenError::NoToken)
        ));
        assert!(matches!(
            AccessToken::parse(br#"{"access_token":""}"#),
            Err(TokenError::NoToken)
        ));
    }

    #[test]
    fn a_lifetime_may_be_a_number_a_string_or_nonsense() {
        let seconds = |json: &str| lifetime(&serde_json::from_str(json).unwrap()).as_secs();
        assert_eq!(seconds("3600"), 3_600);
        assert_eq!(seconds("\"120\""), 120);
        assert_eq!(seconds("null"), 3_600);
        assert_eq!(seconds("-5"), 3_600);
        assert_eq!(seconds("1e300"), 3_600);
        assert_eq!(seconds("1e12"), LONGEST_LIFETIME.as_secs());
    }
}
