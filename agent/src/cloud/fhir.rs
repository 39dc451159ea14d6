//! The few FHIR resources that the agent reads: its own `Agent`, so far.

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::http::{HttpClient, HttpError};
use super::{beneath, quoted};

/// `Agent.status`: whether the cloud wants this agent to work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AgentStatus {
    Active,
    Off,
    Error,
}

/// What the agent needs to know of its `Agent` resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AgentRecord {
    pub name: String,
    pub status: AgentStatus,
}

/// Why the resource could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FhirError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("the server does not take our token any more (HTTP 401)")]
    Unauthorized,
    #[error(
        "the server has no Agent/{id} that this client may read (HTTP {status}); see [cloud] agent and the access policy"
    )]
    NotFound { id: String, status: u16 },
    #[error("the server cannot show Agent/{id} now (HTTP {status})")]
    Unable { id: String, status: u16 },
    #[error(
        "what came is no Agent resource; is a captive portal in the way, or [cloud] url wrong?"
    )]
    NotAnAgent,
    #[error("Agent/{id} has the unknown status «{status}»; it must be active, off or error")]
    UnknownStatus { id: String, status: String },
}

impl AgentRecord {
    /// Reads `{base}fhir/R4/Agent/{id}`.
    pub async fn read(
        http: &HttpClient,
        base: &Url,
        token: &SecretString,
        id: &str,
    ) -> Result<Self, FhirError> {
        let url = beneath(base, &["fhir", "R4", "Agent", id]);
        let answer = http.read(&url, token).await?;
        match answer.status {
            200 => Self::parse(&answer.body, id),
            401 => Err(FhirError::Unauthorized),
            status @ (403 | 404 | 410) => Err(FhirError::NotFound {
                id: id.to_owned(),
                status,
            }),
            status => Err(FhirError::Unable {
                id: id.to_owned(),
                status,
            }),
        }
    }

    fn parse(body: &[u8], id: &str) -> Result<Self, FhirError> {
        let resource: Value = serde_json::from_slice(body).map_err(|_| FhirError::NotAnAgent)?;
        if resource["resourceType"] != "Agent" {
            return Err(FhirError::NotAnAgent);
        }
        let status = match resource["status"].as_str().unwrap_or_default() {
            "active" => AgentStatus::Active,
            "off" => AgentStatus::Off,
            "error" => AgentStatus::Error,
            other => {
                let status = quoted(other);
                return Err(FhirError::UnknownStatus {
                    id: id.to_owned(),
                    status,
                });
            }
        };
        Ok(Self {
            name: quoted(resource["name"].as_str().unwrap_or_default()),
            status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<AgentRecord, FhirError> {
        AgentRecord::parse(body.as_bytes(), "a1")
    }

    #[test]
    fn an_agent_has_a_name_and_a_status() {
        let record = parse(r#"{"resourceType":"Agent","id":"a1","name":"Ward 3","status":"off"}"#);
        assert_eq!(
            record.unwrap(),
            AgentRecord {
                name: "Ward 3".into(),
                status: AgentStatus::Off
            }
        );
    }

    #[test]
    fn what_is_no_agent_is_said_to_be_none() {
        assert!(matches!(parse("<html>"), Err(FhirError::NotAnAgent)));
        assert!(matches!(
            parse(r#"{"resourceType":"Device"}"#),
            Err(FhirError::NotAnAgent)
        ));
        let odd = parse(r#"{"resourceType":"Agent","status":"asleep"}"#);
        assert!(odd.unwrap_err().to_string().contains("«asleep»"));
    }
}
