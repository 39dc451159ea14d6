//! What a stub holds on its first start.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::store::{Change, Name, Stopped, Store};

/// The contents of a seed file.
#[derive(Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Seed {
    pub project: SeedProject,
    pub clients: Vec<SeedClient>,
    /// Any resources; each needs `resourceType` and `id`.
    pub resources: Vec<Value>,
}

/// The one project of a stub.
#[derive(Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct SeedProject {
    pub id: String,
    pub name: String,
}

/// A client with its secret.
#[derive(Deserialize, Clone, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SeedClient {
    pub id: String,
    pub secret: String,
    #[serde(default)]
    pub name: String,
    /// `<digits><s|m|h|d|w|y>`
    #[serde(default, rename = "accessTokenLifetime")]
    pub access_token_lifetime: Option<String>,
    /// `AccessPolicy/<id>`; without one the client may do everything.
    #[serde(default, rename = "accessPolicy")]
    pub access_policy: Option<String>,
}

/// Why there is no seed.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("read the seed {path}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the seed {path} is not what a seed looks like")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("resource {number} of the seed has no resourceType or no id")]
    Nameless { number: usize },
}

impl Seed {
    /// Reads a seed file.
    pub fn read(path: &Path) -> Result<Self, SeedError> {
        let failed = |source| SeedError::Read {
            path: path.to_owned(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(failed)?;
        serde_json::from_str(&text).map_err(|source| SeedError::Parse {
            path: path.to_owned(),
            source,
        })
    }

    pub(crate) fn check(&self) -> Result<(), SeedError> {
        let nameless = |resource: &Value| {
            let name = Name::of(resource);
            name.kind.is_empty() || name.id.is_empty()
        };
        match self.resources.iter().position(nameless) {
            Some(place) => Err(SeedError::Nameless { number: place + 1 }),
            None => Ok(()),
        }
    }

    /// Writes everything. Doing it again after a crash in the middle changes nothing.
    pub(crate) async fn plant(self, store: &Store) -> Result<(), Stopped> {
        let project = &self.project;
        let project_resource =
            json!({ "resourceType": "Project", "id": project.id, "name": project.name });
        let clients = self
            .clients
            .iter()
            .flat_map(|client| client.resources(&project.id));
        let resources: Vec<_> = clients.chain(self.resources.iter().cloned()).collect();
        for resource in std::iter::once(project_resource).chain(resources) {
            // A put is never refused.
            let _ = store.write(Change::Put(resource)).await?;
        }
        store.seeded().await
    }
}

impl SeedClient {
    /// The client and its membership.
    fn resources(&self, project: &str) -> [Value; 2] {
        let reference = json!({ "reference": format!("ClientApplication/{}", self.id) });
        let mut client = json!({
            "resourceType": "ClientApplication", "id": self.id, "name": self.name,
            "secret": self.secret, "status": "active",
        });
        if let Some(lifetime) = &self.access_token_lifetime {
            client["accessTokenLifetime"] = json!(lifetime);
        }
        let mut membership = json!({
            "resourceType": "ProjectMembership", "id": format!("member-{}", self.id),
            "project": { "reference": format!("Project/{project}") },
            "user": reference, "profile": reference,
        });
        if let Some(policy) = &self.access_policy {
            membership["accessPolicy"] = json!({ "reference": policy });
        }
        [client, membership]
    }
}

impl Default for SeedProject {
    fn default() -> Self {
        Self {
            id: "wardpost".into(),
            name: "Wardpost".into(),
        }
    }
}

impl std::fmt::Debug for SeedClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SeedClient")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
