//! The table `resource`: what a create, an update, a patch and a delete do to it.

use std::sync::Arc;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::Current;
use crate::access::set_author;
use crate::patch::{self, Step};
use crate::policy::{By, Interaction};

/// Type and id of a resource.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Name {
    pub(crate) kind: String,
    pub(crate) id: String,
}

/// One write.
pub(crate) enum Change {
    /// A new resource, with the id that it has or a new one.
    Create(Value),
    Edit {
        name: Name,
        if_match: Option<String>,
        edit: Edit,
        /// Nobody in particular where the stub itself writes.
        by: Option<By>,
    },
    /// Create, or replace whatever there is: the way of seeds and tests, not of HTTP.
    Put(Value),
    Delete(Name),
}

/// What an update does.
pub(crate) enum Edit {
    Replace(Value),
    Patch(Vec<Step>),
}

/// Why a write was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    NotFound,
    Gone,
    /// The id is taken.
    Taken,
    /// `If-Match` names another version.
    OtherVersion,
    /// The author's policy does not allow what it was or would be.
    Forbidden,
    BadPatch(String),
}

/// A new version that is on disk once its transaction is.
pub(crate) struct Written {
    pub(crate) name: Name,
    /// The resource; of a deleted one what it was.
    pub(crate) resource: Arc<Value>,
    pub(crate) effect: Effect,
}

/// A version that is on disk, for who asked for it.
#[derive(Debug)]
pub(crate) struct Wrote {
    pub(crate) resource: Arc<Value>,
    pub(crate) effect: Effect,
}

/// What a write did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Effect {
    Created,
    Updated,
    /// It said nothing new.
    Unchanged,
    Deleted,
}

/// One version of a resource. It has no body if it is a deletion.
pub(crate) struct Version {
    pub(crate) id: String,
    pub(crate) body: Option<Value>,
}

/// A part of a long list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Page {
    pub(crate) offset: usize,
    pub(crate) count: usize,
}

/// The last version on disk.
struct Last {
    version: String,
    body: Option<Value>,
}

impl Name {
    pub(crate) fn new(kind: &str, id: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
        }
    }

    /// The name that a resource gives itself; the id is empty if it has none.
    pub(crate) fn of(resource: &Value) -> Self {
        Self::new(text(resource, "resourceType"), text(resource, "id"))
    }
}

/// A member that is a string; else the empty one.
pub(crate) fn text<'a>(resource: &'a Value, key: &str) -> &'a str {
    resource
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

pub(super) fn write(db: &Connection, change: Change) -> rusqlite::Result<Result<Written, Refused>> {
    match change {
        Change::Create(resource) => create(db, resource),
        Change::Edit {
            name,
            if_match,
            edit,
            by,
        } => self::edit(db, name, if_match.as_deref(), (edit, by)),
        Change::Put(resource) => insert(db, Name::of(&resource), resource, Effect::Created).map(Ok),
        Change::Delete(name) => delete(db, name),
    }
}

fn create(db: &Connection, resource: Value) -> rusqlite::Result<Result<Written, Refused>> {
    let mut name = Name::of(&resource);
    if name.id.is_empty() {
        name.id = Uuid::new_v4().to_string();
    } else if last(db, &name)?.is_some() {
        return Ok(Err(Refused::Taken));
    }
    insert(db, name, resource, Effect::Created).map(Ok)
}

fn edit(
    db: &Connection,
    name: Name,
    if_match: Option<&str>,
    (edit, by): (Edit, Option<By>),
) -> rusqlite::Result<Result<Written, Refused>> {
    let Some(last) = last(db, &name)? else {
        return Ok(Err(Refused::NotFound));
    };
    let Some(body) = last.body else {
        return Ok(Err(Refused::Gone));
    };
    let forbidden = |resource: &Value| {
        by.as_ref()
            .is_some_and(|by| !by.policy.allows(Interaction::Update, resource))
    };
    if forbidden(&body) {
        return Ok(Err(Refused::Forbidden));
    }
    if if_match.is_some_and(|version| version != last.version) {
        return Ok(Err(Refused::OtherVersion));
    }
    let mut edited = match edit {
        Edit::Replace(resource) => resource,
        Edit::Patch(steps) => match patch::apply(&body, &steps) {
            Ok(resource) => resource,
            Err(why) => return Ok(Err(Refused::BadPatch(why))),
        },
    };
    if without_meta(&edited) == without_meta(&body) {
        // Nothing new: no new version, as on a real server, so that nothing is triggered by it.
        return Ok(Ok(Written {
            name,
            resource: Arc::new(body),
            effect: Effect::Unchanged,
        }));
    }
    if forbidden(&edited) {
        return Ok(Err(Refused::Forbidden));
    }
    if let Some(by) = &by {
        set_author(&mut edited, &by.author);
    }
    insert(db, name, edited, Effect::Updated).map(Ok)
}

fn delete(db: &Connection, name: Name) -> rusqlite::Result<Result<Written, Refused>> {
    let Some(last) = last(db, &name)? else {
        return Ok(Err(Refused::NotFound));
    };
    let Some(body) = last.body else {
        return Ok(Err(Refused::Gone));
    };
    append(db, &name, &Uuid::new_v4().to_string(), None)?;
    Ok(Ok(Written {
        name,
        resource: Arc::new(body),
        effect: Effect::Deleted,
    }))
}

fn insert(
    db: &Connection,
    name: Name,
    mut resource: Value,
    effect: Effect,
) -> rusqlite::Result<Written> {
    let version = Uuid::new_v4().to_string();
    resource["id"] = json!(name.id);
    stamp(&mut resource, &version);
    append(db, &name, &version, Some(&resource.to_string()))?;
    Ok(Written {
        name,
        resource: Arc::new(resource),
        effect,
    })
}

fn append(db: &Connection, name: &Name, version: &str, body: Option<&str>) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO resource (type, id, version, at, body) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((&name.kind, &name.id, version, now_ms(), body))?;
    Ok(())
}

fn last(db: &Connection, name: &Name) -> rusqlite::Result<Option<Last>> {
    db.prepare_cached(
        "SELECT version, body FROM resource WHERE type = ?1 AND id = ?2 ORDER BY seq DESC LIMIT 1",
    )?
    .query_row((&name.kind, &name.id), |row| {
        let body: Option<String> = row.get(1)?;
        Ok(Last {
            version: row.get(0)?,
            body: body.as_deref().map(parse),
        })
    })
    .optional()
}

pub(super) fn version(
    db: &Connection,
    name: &Name,
    version: &str,
) -> rusqlite::Result<Option<Value>> {
    let body: Option<Option<String>> = db
        .prepare_cached("SELECT body FROM resource WHERE type = ?1 AND id = ?2 AND version = ?3")?
        .query_row((&name.kind, &name.id, version), |row| row.get(0))
        .optional()?;
    Ok(body.flatten().as_deref().map(parse))
}

/// Versions of a resource, the newest first.
pub(super) fn history(db: &Connection, name: &Name, page: Page) -> rusqlite::Result<Vec<Version>> {
    let mut select = db.prepare_cached(
        "SELECT version, body FROM resource WHERE type = ?1 AND id = ?2
         ORDER BY seq DESC LIMIT ?3 OFFSET ?4",
    )?;
    let rows = select.query_map((&name.kind, &name.id, page.count, page.offset), |row| {
        let body: Option<String> = row.get(1)?;
        Ok(Version {
            id: row.get(0)?,
            body: body.as_deref().map(parse),
        })
    })?;
    rows.collect()
}

/// Everything current, in the order in which it was first written.
pub(super) fn load(db: &Connection) -> rusqlite::Result<Current> {
    let current = Current::default();
    let mut select = db.prepare(
        "SELECT type, id, body FROM resource JOIN
         (SELECT max(seq) AS seq, min(seq) AS born FROM resource GROUP BY type, id) USING (seq)
         ORDER BY born",
    )?;
    let mut rows = select.query(())?;
    while let Some(row) = rows.next()? {
        let name = Name {
            kind: row.get(0)?,
            id: row.get(1)?,
        };
        let body: Option<String> = row.get(2)?;
        let resource = Arc::new(body.as_deref().map_or(Value::Null, parse));
        current.apply(Written {
            name,
            resource,
            effect: if body.is_none() {
                Effect::Deleted
            } else {
                Effect::Created
            },
        });
    }
    Ok(current)
}

/// UTC in milliseconds.
pub(crate) fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// UTC now, as FHIR writes an instant.
pub(crate) fn now_instant() -> String {
    format!("{:.3}", Timestamp::now())
}

fn stamp(resource: &mut Value, version: &str) {
    let mut meta = match resource.get("meta") {
        Some(Value::Object(meta)) => meta.clone(),
        _ => Map::new(),
    };
    meta.insert("versionId".into(), json!(version));
    meta.insert("lastUpdated".into(), json!(now_instant()));
    resource["meta"] = Value::Object(meta);
}

/// The resource less what every write changes.
fn without_meta(resource: &Value) -> Value {
    let mut resource = resource.clone();
    if let Some(meta) = resource.get_mut("meta").and_then(Value::as_object_mut) {
        meta.remove("versionId");
        meta.remove("lastUpdated");
        meta.remove("author");
        if meta.is_empty()
            && let Some(members) = resource.as_object_mut()
        {
            members.remove("meta");
        }
    }
    resource
}

fn parse(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_default()
}
