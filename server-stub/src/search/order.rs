//! `_sort`: in which order a search gives what it finds.

use std::cmp::Ordering;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{element, moment};

/// The rules of a `_sort`, the most important first.
#[derive(Clone, Debug, Default)]
pub(super) struct Order(Vec<Rule>);

#[derive(Clone, Debug)]
struct Rule {
    element: String,
    direction: Direction,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Direction {
    Up,
    Down,
}

/// What a resource is sorted by. Dates come in the order of time, whatever zone they are written in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Key {
    Time(Timestamp),
    Text(String),
}

impl Order {
    /// Reads `authored-on,-_lastUpdated`.
    pub(super) fn parse(text: &str) -> Self {
        let rule = |name: &str| match name.strip_prefix('-') {
            Some(name) => Rule {
                element: element(name),
                direction: Direction::Down,
            },
            None => Rule {
                element: element(name),
                direction: Direction::Up,
            },
        };
        let names = text.split(',').filter(|name| !name.is_empty());
        Self(names.map(rule).collect())
    }

    /// Sorts; what is equal stays in the order in which it was created.
    pub(super) fn sort(&self, found: Vec<Arc<Value>>) -> Vec<Arc<Value>> {
        if self.0.is_empty() {
            return found;
        }
        let keys = |resource: &Value| self.0.iter().map(|rule| rule.key(resource)).collect();
        let mut keyed: Vec<(Vec<Option<Key>>, Arc<Value>)> = found
            .into_iter()
            .map(|resource| (keys(&resource), resource))
            .collect();
        keyed.sort_by(|(one, _), (other, _)| self.compare(one, other));
        keyed.into_iter().map(|(_, resource)| resource).collect()
    }

    fn compare(&self, one: &[Option<Key>], other: &[Option<Key>]) -> Ordering {
        let pairs = one.iter().zip(other).zip(&self.0);
        pairs.fold(Ordering::Equal, |so_far, ((one, other), rule)| {
            so_far.then_with(|| rule.compare(one.as_ref(), other.as_ref()))
        })
    }
}

impl Rule {
    fn key(&self, resource: &Value) -> Option<Key> {
        let text = resource.pointer(&self.element)?.as_str()?;
        Some(moment::beginning(text).map_or_else(|| Key::Text(text.to_owned()), Key::Time))
    }

    /// What lacks the element comes last, and first in the other direction, as in the database of a real server.
    fn compare(&self, one: Option<&Key>, other: Option<&Key>) -> Ordering {
        let up = match (one, other) {
            (Some(one), Some(other)) => one.cmp(other),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        match self.direction {
            Direction::Up => up,
            Direction::Down => up.reverse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(sort: &str, expected: &[&str]) {
        let task = |id: &str, at: Option<&str>| {
            Arc::new(json!({ "id": id, "authoredOn": at, "status": "requested" }))
        };
        let tasks = vec![
            task("b", Some("2026-03-01T10:00:00Z")),
            task("a", Some("2026-03-01T10:00:00+01:00")),
            task("c", None),
            task("d", Some("2026-03-01T11:00:00+01:00")),
        ];
        let sorted = Order::parse(sort).sort(tasks);
        let ids: Vec<_> = sorted.iter().map(|task| task["id"].clone()).collect();
        assert_eq!(ids, expected, "{sort}");
    }

    #[test]
    fn resources_come_in_the_order_that_was_asked_for() {
        check("", &["b", "a", "c", "d"]);
        check("authored-on", &["a", "b", "d", "c"]);
        check("-authored-on", &["c", "b", "d", "a"]);
        check("authored-on,-_id", &["a", "d", "b", "c"]);
        check("status,-_id", &["d", "c", "b", "a"]);
    }
}
