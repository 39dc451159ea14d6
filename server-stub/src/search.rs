//! Searching: enough of FHIR search for the clients of an agent.
//!
//! A parameter looks at the element of its own name (`authored-on` at `authoredOn`), whatever the resource type, and compares by
//! what it finds there: text, date, identifier, coding, concept, reference. There are no chains, no includes and no composites.

mod moment;
mod order;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::http::Query;
use crate::outcome::Outcome;
use crate::policy::{Interaction, Policy};
use crate::store::Current;
use order::Order;

/// A search that was understood.
#[derive(Debug)]
pub(crate) struct Search {
    filters: Vec<Filter>,
    order: Order,
    pub(crate) count: Option<usize>,
    pub(crate) offset: usize,
}

#[derive(Debug)]
struct Filter {
    element: String,
    modifier: Modifier,
    /// Any of these.
    values: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Modifier {
    None,
    Not,
    Exact,
    Contains,
    Missing,
}

/// One page of what was found.
pub(crate) struct Found {
    pub(crate) total: usize,
    pub(crate) page: Vec<Arc<Value>>,
}

impl Search {
    pub(crate) fn parse(query: &Query) -> Result<Self, Outcome> {
        let mut search = Self {
            filters: Vec::new(),
            order: Order::default(),
            count: None,
            offset: 0,
        };
        for (name, value) in &query.0 {
            match name.as_str() {
                "_count" => search.count = Some(number(name, value)?),
                "_offset" => search.offset = number(name, value)?,
                "_sort" => search.order = Order::parse(value),
                "_total" | "_summary" | "_fields" | "_elements" | "_format" | "_pretty" => {}
                _ => search.filters.push(Filter::parse(name, value)?),
            }
        }
        Ok(search)
    }

    /// Finds what fits, as far as a policy shows it.
    pub(crate) fn run(&self, current: &Current, kind: &str, policy: &Policy) -> Found {
        let all = current.find(kind, |resource| {
            self.fits(resource) && policy.allows(Interaction::Search, resource)
        });
        let all = self.order.sort(all);
        let total = all.len();
        let count = self.count.unwrap_or(DEFAULT_COUNT).min(MAX_COUNT);
        let page = all.into_iter().skip(self.offset).take(count).collect();
        Found { total, page }
    }

    pub(crate) fn fits(&self, resource: &Value) -> bool {
        self.filters.iter().all(|filter| filter.fits(resource))
    }
}

impl Found {
    /// The page as a FHIR Bundle.
    pub(crate) fn bundle(
        &self,
        base_url: &str,
        kind: &str,
        query: &Query,
        search: &Search,
    ) -> Value {
        let entry = |resource: &Arc<Value>| {
            let id = resource
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            json!({
                "fullUrl": format!("{base_url}fhir/R4/{kind}/{id}"),
                "resource": **resource,
                "search": { "mode": "match" },
            })
        };
        let mut link = vec![
            json!({ "relation": "self", "url": page_url(base_url, kind, query, search.offset) }),
        ];
        let next = search.offset + self.page.len();
        if next < self.total && !self.page.is_empty() {
            link.push(json!({ "relation": "next", "url": page_url(base_url, kind, query, next) }));
        }
        json!({
            "resourceType": "Bundle",
            "type": "searchset",
            "total": self.total,
            "entry": self.page.iter().map(entry).collect::<Vec<_>>(),
            "link": link,
        })
    }
}

fn page_url(base_url: &str, kind: &str, query: &Query, offset: usize) -> String {
    let mut url = url::form_urlencoded::Serializer::new(String::new());
    url.extend_pairs(&query.without(&["_offset"]).0);
    if offset > 0 {
        url.append_pair("_offset", &offset.to_string());
    }
    let query = url.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{base_url}fhir/R4/{kind}{mark}{query}")
}

impl Filter {
    fn parse(name: &str, value: &str) -> Result<Self, Outcome> {
        let (name, modifier) = name.split_once(':').unwrap_or((name, ""));
        let modifier = match modifier {
            "" => Modifier::None,
            "not" => Modifier::Not,
            "exact" => Modifier::Exact,
            "contains" => Modifier::Contains,
            "missing" => Modifier::Missing,
            other => {
                return Err(Outcome::invalid(format!(
                    "Unsupported search modifier :{other}"
                )));
            }
        };
        if name.contains('.') || name.starts_with("_has") {
            return Err(Outcome::invalid(format!(
                "Unsupported search parameter {name}"
            )));
        }
        let values = value.split(',').map(str::to_owned).collect();
        Ok(Self {
            element: element(name),
            modifier,
            values,
        })
    }

    fn fits(&self, resource: &Value) -> bool {
        let found = resource
            .pointer(&self.element)
            .filter(|value| !value.is_null());
        let any = || {
            self.values
                .iter()
                .any(|wanted| found.is_some_and(|value| self.matches(value, wanted)))
        };
        match self.modifier {
            Modifier::Missing => found.is_none() == self.values.iter().any(|value| value == "true"),
            Modifier::Not => !any(),
            Modifier::None | Modifier::Exact | Modifier::Contains => any(),
        }
    }

    fn matches(&self, value: &Value, wanted: &str) -> bool {
        match value {
            Value::Array(items) => items.iter().any(|item| self.matches(item, wanted)),
            Value::String(text) => self.text_matches(text, wanted),
            Value::Bool(value) => wanted == if *value { "true" } else { "false" },
            Value::Number(value) => wanted == value.to_string(),
            Value::Object(members) => {
                let member = |name: &str| members.get(name).and_then(Value::as_str);
                if let Some(reference) = member("reference") {
                    return reference == wanted || reference.rsplit('/').next() == Some(wanted);
                }
                // A concept's codings; what an entity of an audit event is.
                if let Some(inside) = members.get("coding").or_else(|| members.get("what")) {
                    return self.matches(inside, wanted);
                }
                if let Some(code) = member("code").or_else(|| member("value")) {
                    return token_matches(member("system"), code, wanted);
                }
                // A person's or a device's name, a concept's text.
                NAME_PARTS
                    .iter()
                    .filter_map(|part| members.get(*part))
                    .any(|part| match part {
                        Value::Array(given) => given
                            .iter()
                            .filter_map(Value::as_str)
                            .any(|text| contains(text, wanted)),
                        part => part.as_str().is_some_and(|text| contains(text, wanted)),
                    })
            }
            Value::Null => false,
        }
    }

    fn text_matches(&self, text: &str, wanted: &str) -> bool {
        let loose = TEXTS.contains(&self.element.as_str());
        match self.modifier {
            Modifier::Exact => text == wanted,
            Modifier::Contains => contains(text, wanted),
            _ if loose => contains(text, wanted),
            _ => token_matches(None, text, wanted) || moment::compare(text, wanted) == Some(true),
        }
    }
}

/// `code`, `system|code`, `|code` or `system|`.
fn token_matches(system: Option<&str>, code: &str, wanted: &str) -> bool {
    match wanted.split_once('|') {
        None => code.eq_ignore_ascii_case(wanted),
        Some((wanted_system, wanted_code)) => {
            system.unwrap_or_default() == wanted_system
                && (wanted_code.is_empty() || code.eq_ignore_ascii_case(wanted_code))
        }
    }
}

fn contains(text: &str, wanted: &str) -> bool {
    text.to_lowercase().contains(&wanted.to_lowercase())
}

/// Where a parameter looks, as a JSON pointer.
fn element(name: &str) -> String {
    let name = match name {
        "_id" => "id",
        "_lastUpdated" => "meta/lastUpdated",
        "_tag" => "meta/tag",
        "_profile" => "meta/profile",
        "patient" => "subject",
        name => name,
    };
    let mut parts = name.split('-');
    let mut element = format!("/{}", parts.next().unwrap_or_default());
    for part in parts {
        let mut letters = part.chars();
        element.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        element.push_str(letters.as_str());
    }
    element
}

pub(crate) fn number(name: &str, value: &str) -> Result<usize, Outcome> {
    value
        .parse()
        .map_err(|_| Outcome::invalid(format!("'{name}' must be a number of 0 or more")))
}

/// Elements of which any part may match.
const TEXTS: &[&str] = &["/name", "/title", "/description", "/display"];
const NAME_PARTS: &[&str] = &["text", "family", "given", "name"];

const DEFAULT_COUNT: usize = 20;
const MAX_COUNT: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(resource: &Value, query: &str, fits: bool) {
        let search = Search::parse(&Query::parse(query)).unwrap();
        assert_eq!(search.fits(resource), fits, "{query}");
    }

    #[test]
    fn agents_and_devices_are_found_by_what_they_are_searched_by() {
        let device = json!({
            "resourceType": "Device", "id": "d1", "status": "active", "url": "mllp://127.0.0.1:2575",
            "identifier": [{ "system": "urn:site", "value": "LAB-1" }],
            "deviceName": [{ "name": "Chemistry one" }],
        });
        for query in [
            "_id=d1",
            "_id=d0,d1",
            "identifier=LAB-1",
            "identifier=urn:site|LAB-1",
            "identifier=urn:site|",
            "status=active",
            "status:not=inactive",
            "url=mllp://127.0.0.1:2575",
            "device-name=chem",
            "owner:missing=true",
            "",
        ] {
            check(&device, query, true);
        }
        for query in [
            "_id=d2",
            "identifier=|LAB-1",
            "identifier=urn:other|LAB-1",
            "status=inactive",
            "url=mllp",
            "name=chem",
            "_id=d1&status=inactive",
        ] {
            check(&device, query, false);
        }
    }

    #[test]
    fn tasks_are_found_by_owner_code_and_time() {
        let task = json!({
            "resourceType": "Task", "status": "requested", "authoredOn": "2026-03-01T08:00:00Z",
            "owner": { "reference": "Device/d1" },
            "code": { "coding": [{ "system": "urn:c", "code": "push" }] },
        });
        check(
            &task,
            "owner=Device/d1&status=requested&code=urn:c|push",
            true,
        );
        check(&task, "owner=d1&code=push", true);
        check(&task, "owner=Device/d2", false);
        check(&task, "authored-on=ge2026-03-01", true);
        check(&task, "authored-on=lt2026-03-01", false);
        check(&task, "code=urn:other|push", false);
        check(
            &task,
            "authored-on=ge2026-03-01&authored-on=lt2026-03-02",
            true,
        );
    }

    #[test]
    fn what_is_not_understood_is_refused_and_not_ignored() {
        for query in [
            "subject.name=x",
            "_has:Device:x=y",
            "name:text=x",
            "_count=-1",
        ] {
            assert!(Search::parse(&Query::parse(query)).is_err(), "{query}");
        }
    }
}
