//! Access policies: what the owner of a membership may see and change.
//!
//! An entry of an `AccessPolicy` names a resource type (`*` is any but those of administrators), and limits it by `criteria`,
//! `readonly` or a list of `interaction`. What no entry allows is forbidden. Hidden and read-only fields are not known here.

use std::sync::Arc;

use serde_json::Value;

use crate::http::Query;
use crate::outcome::Outcome;
use crate::search::Search;
use crate::store::{Current, text};

/// What somebody may do.
#[derive(Debug)]
pub(crate) enum Policy {
    /// Nobody has limited it.
    Everything,
    Only(Vec<Entry>),
}

/// One `resource` of an `AccessPolicy`.
#[derive(Debug)]
pub(crate) struct Entry {
    kind: String,
    criteria: Criteria,
    allows: Allows,
}

#[derive(Debug)]
enum Criteria {
    None,
    Fits(String, Search),
    /// It was not understood, so nothing fits.
    Unreadable,
}

#[derive(Debug)]
enum Allows {
    All,
    Reading,
    Listed(Vec<String>),
}

/// What is done with a resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Interaction {
    Read,
    Vread,
    History,
    Search,
    Create,
    Update,
    Delete,
}

/// Who makes a change, and what it may be.
#[derive(Clone)]
pub(crate) struct By {
    /// The reference to the author.
    pub(crate) author: String,
    pub(crate) policy: Arc<Policy>,
}

impl Policy {
    /// What the membership of a profile allows.
    pub(crate) fn of(current: &Current, profile: &str, membership: Option<&Value>) -> Self {
        match membership.and_then(|membership| limits(current, membership)) {
            None => Self::Everything,
            Some(limits) => Self::Only(
                limits
                    .iter()
                    .map(|limit| Entry::parse(limit, profile))
                    .collect(),
            ),
        }
    }

    /// Refuses what is forbidden for every resource of a type.
    pub(crate) fn supports(&self, interaction: Interaction, kind: &str) -> Result<(), Outcome> {
        let supported = match self {
            Self::Everything => true,
            Self::Only(entries) => entries.iter().any(|entry| entry.is_for(interaction, kind)),
        };
        supported.then_some(()).ok_or_else(Outcome::forbidden)
    }

    /// Whether it may be done with this very resource.
    pub(crate) fn allows(&self, interaction: Interaction, resource: &Value) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(entries) => entries.iter().any(|entry| {
                entry.is_for(interaction, text(resource, "resourceType"))
                    && entry.criteria.fits(resource)
            }),
        }
    }

    /// Whether it limits nothing, as it is for an administrator.
    pub(crate) fn is_everything(&self) -> bool {
        matches!(self, Self::Everything)
    }
}

/// The entries of all policies of a membership; `None` if it has no policy. One that is not there allows nothing.
pub(crate) fn limits(current: &Current, membership: &Value) -> Option<Vec<Value>> {
    let several = membership.get("access").and_then(Value::as_array);
    let several = several
        .into_iter()
        .flatten()
        .filter_map(|access| access.pointer("/policy/reference"));
    let mut references = membership
        .pointer("/accessPolicy/reference")
        .into_iter()
        .chain(several)
        .filter_map(Value::as_str)
        .peekable();
    references.peek()?;
    let policies = references.filter_map(|reference| {
        let id = reference.strip_prefix("AccessPolicy/")?;
        current.read("AccessPolicy", id).ok()
    });
    let entries = |policy: Arc<Value>| policy.get("resource").and_then(Value::as_array).cloned();
    Some(policies.filter_map(entries).flatten().collect())
}

impl Entry {
    fn parse(resource: &Value, profile: &str) -> Self {
        Self {
            kind: text(resource, "resourceType").to_owned(),
            criteria: Criteria::parse(&text(resource, "criteria").replace("%profile", profile)),
            allows: Allows::parse(resource),
        }
    }

    fn is_for(&self, interaction: Interaction, kind: &str) -> bool {
        let is_kind = self.kind == kind || (self.kind == "*" && !ADMINISTRATORS.contains(&kind));
        is_kind
            && match &self.allows {
                Allows::All => true,
                Allows::Reading => interaction.is_reading(),
                Allows::Listed(listed) => listed.iter().any(|one| one == interaction.code()),
            }
    }
}

impl Criteria {
    fn parse(criteria: &str) -> Self {
        if criteria.is_empty() {
            return Self::None;
        }
        let (kind, query) = criteria.split_once('?').unwrap_or((criteria, ""));
        match Search::parse(&Query::parse(query)) {
            Ok(search) => Self::Fits(kind.to_owned(), search),
            Err(_) => Self::Unreadable,
        }
    }

    fn fits(&self, resource: &Value) -> bool {
        let kind = text(resource, "resourceType");
        match self {
            Self::None => true,
            // Nothing of a Binary can be searched.
            Self::Fits(..) if kind == "Binary" => true,
            Self::Fits(wanted, search) => wanted == kind && search.fits(resource),
            Self::Unreadable => false,
        }
    }
}

impl Allows {
    /// A list of interactions wins over `readonly`.
    fn parse(resource: &Value) -> Self {
        let readonly = resource.get("readonly") == Some(&Value::Bool(true));
        match resource.get("interaction").and_then(Value::as_array) {
            Some(listed) => {
                let codes = listed.iter().filter_map(Value::as_str);
                Self::Listed(codes.map(str::to_owned).collect())
            }
            None if readonly => Self::Reading,
            None => Self::All,
        }
    }
}

impl Interaction {
    fn is_reading(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Vread | Self::History | Self::Search
        )
    }

    fn code(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Vread => "vread",
            Self::History => "history",
            Self::Search => "search",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Types that `*` does not mean.
const ADMINISTRATORS: &[&str] = &[
    "AccessPolicy",
    "Cron",
    "Package",
    "PackageInstallation",
    "PackageRelease",
    "Project",
    "ProjectMembership",
    "User",
    "UserSecurityRequest",
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(entries: &Value) -> Policy {
        let entries = entries.as_array().unwrap().iter();
        Policy::Only(entries.map(|entry| Entry::parse(entry, "Bot/b")).collect())
    }

    fn check(entry: &Value, interaction: Interaction, resource: &Value, allowed: bool) {
        let policy = policy(&json!([entry]));
        assert_eq!(
            policy.allows(interaction, resource),
            allowed,
            "{entry} {interaction:?}"
        );
    }

    #[test]
    fn an_entry_allows_its_type_and_what_it_lists() {
        let task = json!({ "resourceType": "Task", "owner": { "reference": "Device/d1" } });
        let all = json!({ "resourceType": "Task" });
        check(&all, Interaction::Delete, &task, true);
        check(
            &json!({ "resourceType": "Device" }),
            Interaction::Read,
            &task,
            false,
        );
        check(
            &json!({ "resourceType": "*" }),
            Interaction::Update,
            &task,
            true,
        );
        let readonly = json!({ "resourceType": "Task", "readonly": true });
        check(&readonly, Interaction::Search, &task, true);
        check(&readonly, Interaction::Update, &task, false);
        let listed = json!({ "resourceType": "Task", "readonly": true, "interaction": ["update"] });
        check(&listed, Interaction::Update, &task, true);
        check(&listed, Interaction::Read, &task, false);
    }

    #[test]
    fn criteria_limit_which_resources() {
        let task = json!({ "resourceType": "Task", "owner": { "reference": "Device/d1" } });
        for (criteria, allowed) in [
            ("Task?owner=Device/d1", true),
            ("Task?owner=Device/d2", false),
            ("Device?owner=Device/d1", false),
            ("Task?owner.name=x", false),
            ("Task", true),
        ] {
            let entry = json!({ "resourceType": "Task", "criteria": criteria });
            check(&entry, Interaction::Read, &task, allowed);
        }
        let own = json!({ "resourceType": "Task", "criteria": "Task?requester=%profile" });
        let mine = json!({ "resourceType": "Task", "requester": { "reference": "Bot/b" } });
        check(&own, Interaction::Read, &mine, true);
    }

    #[test]
    fn any_type_is_not_a_type_of_administrators() {
        let policy = policy(&json!([{ "resourceType": "*" }]));
        assert!(policy.supports(Interaction::Read, "Task").is_ok());
        let refused = policy.supports(Interaction::Read, "ProjectMembership");
        assert_eq!(refused, Err(Outcome::forbidden()));
    }

    #[test]
    fn a_policy_that_is_not_there_allows_nothing() {
        let membership = json!({ "accessPolicy": { "reference": "AccessPolicy/none" } });
        let policy = Policy::of(&Current::default(), "Bot/b", Some(&membership));
        assert!(policy.supports(Interaction::Read, "Task").is_err());
        let unlimited = Policy::of(&Current::default(), "Bot/b", Some(&json!({})));
        assert!(unlimited.is_everything());
    }
}
