//! Resources as one caller may see and change them: every request of a client and every call of a Bot goes through here.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::http::Query;
use crate::oauth::Caller;
use crate::outcome::Outcome;
use crate::policy::{By, Interaction};
use crate::search::{Found, Search};
use crate::server::Server;
use crate::store::{Change, Edit, Name, text};

impl Caller {
    /// What the caller may not see is not found; what it may see nothing of is forbidden.
    pub(crate) fn read(
        &self,
        server: &Server,
        kind: &str,
        id: &str,
    ) -> Result<Arc<Value>, Outcome> {
        self.policy.supports(Interaction::Read, kind)?;
        let resource = server.read(kind, id)?;
        if self.policy.allows(Interaction::Read, &resource) {
            Ok(resource)
        } else {
            Err(Outcome::not_found())
        }
    }

    pub(crate) async fn version(
        &self,
        server: &Server,
        name: Name,
        version: &str,
    ) -> Result<Value, Outcome> {
        self.past(server, Interaction::Vread, &name)?;
        let found = server.store.version(name, version.to_owned()).await?;
        found.ok_or_else(Outcome::not_found)
    }

    /// Checks that the caller may look at what a resource was.
    pub(crate) fn past(
        &self,
        server: &Server,
        interaction: Interaction,
        name: &Name,
    ) -> Result<(), Outcome> {
        self.policy.supports(interaction, &name.kind)?;
        if self.policy.is_everything() {
            // Also of what is deleted.
            return Ok(());
        }
        self.read(server, &name.kind, &name.id).map(drop)
    }

    pub(crate) fn find(
        &self,
        server: &Server,
        kind: &str,
        search: &Search,
    ) -> Result<Found, Outcome> {
        self.policy.supports(Interaction::Search, kind)?;
        Ok(search.run(&server.store.current, kind, &self.policy))
    }

    /// Creates a resource, unless one fits the condition (`If-None-Exist`).
    pub(crate) async fn create(
        &self,
        server: &Server,
        mut resource: Value,
        condition: &str,
    ) -> Result<Created, Outcome> {
        let kind = text(&resource, "resourceType").to_owned();
        self.policy.supports(Interaction::Create, &kind)?;
        if !self.policy.allows(Interaction::Create, &resource) {
            return Err(Outcome::forbidden());
        }
        set_author(&mut resource, &self.reference());
        if condition.is_empty() {
            return server
                .write(Change::Create(resource))
                .await
                .map(Created::Now);
        }
        // Held over look and write, so that of two callers with one condition only one creates.
        let _turn = server.conditional.lock().await;
        let query = condition
            .split_once('?')
            .map_or(condition, |(_, query)| query);
        let found = self.find(server, &kind, &Search::parse(&Query::parse(query))?)?;
        match found.page.as_slice() {
            [] => server
                .write(Change::Create(resource))
                .await
                .map(Created::Now),
            [one] => Ok(Created::Before(Arc::clone(one))),
            _ => Err(Outcome::multiple_matches()),
        }
    }

    pub(crate) async fn edit(
        &self,
        server: &Server,
        name: Name,
        if_match: Option<String>,
        edit: Edit,
    ) -> Result<Arc<Value>, Outcome> {
        self.policy.supports(Interaction::Update, &name.kind)?;
        self.read(server, &name.kind, &name.id)?;
        let by = Some(By {
            author: self.reference(),
            policy: Arc::clone(&self.policy),
        });
        let change = Change::Edit {
            name,
            if_match,
            edit,
            by,
        };
        server.write(change).await
    }

    pub(crate) async fn delete(&self, server: &Server, name: Name) -> Result<(), Outcome> {
        let resource = self.read(server, &name.kind, &name.id)?;
        if !self.policy.allows(Interaction::Delete, &resource) {
            return Err(Outcome::forbidden());
        }
        server.write(Change::Delete(name)).await.map(drop)
    }
}

/// What a create came to.
pub(crate) enum Created {
    Now(Arc<Value>),
    /// There was one that fits the condition.
    Before(Arc<Value>),
}

/// Writes who made this version.
pub(crate) fn set_author(resource: &mut Value, author: &str) {
    if !resource.get("meta").is_some_and(Value::is_object) {
        resource["meta"] = json!({});
    }
    resource["meta"]["author"] = json!({ "reference": author });
}
