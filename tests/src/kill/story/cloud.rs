//! What the cloud knows of a story, read from the stub's database: orders, messages, and what it was told of each.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context;
use rusqlite::Connection;
use serde_json::Value;

use super::Form;
use super::judge::{Message, Told};
use crate::bench::Bench;
use crate::kill::evidence;
use crate::sim::{field, sha256};

/// Orders and messages of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Cloud {
    pub(super) orders: Vec<Vec<String>>,
    pub(super) messages: Vec<Message>,
    /// By `ORC-1`.
    pub(super) kinds: BTreeMap<String, usize>,
}

impl Cloud {
    pub(super) fn read(bench: &Bench, form: Form) -> anyhow::Result<Self> {
        let database = evidence::open(&bench.stub_database())?;
        let bodies = match form {
            Form::Push => kept(&database)?,
            Form::Task => tasks(&database)?,
        };
        let mut cloud = Self {
            orders: orders(&database)?,
            ..Self::default()
        };
        for (body, told) in bodies {
            let of = |segment, number| field(body.as_bytes(), segment, number).unwrap_or_default();
            *cloud.kinds.entry(of("ORC", 1)).or_default() += 1;
            cloud.messages.push(Message {
                name: of("MSH", 10),
                sum: sha256(body.as_bytes()),
                told,
            });
        }
        Ok(cloud)
    }

    /// The newest versions of which there is no message yet.
    pub(super) fn unsent(&self) -> usize {
        let newest = self.orders.iter().filter_map(|versions| versions.last());
        let unsent = newest.filter(|name| !self.messages.iter().any(|one| one.name == **name));
        unsent.count()
    }
}

/// The versions of each `ServiceRequest`, oldest first, as their Bot names them.
fn orders(database: &Connection) -> anyhow::Result<Vec<Vec<String>>> {
    let sql = "SELECT id, version FROM resource WHERE type = 'ServiceRequest' ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut orders: HashMap<String, Vec<String>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (id, version): (String, String) = (row.get(0)?, row.get(1)?);
        let name = control_id(&id, &version);
        orders.entry(id).or_default().push(name);
    }
    Ok(orders.into_values().collect())
}

fn kept(database: &Connection) -> anyhow::Result<Vec<(String, Told)>> {
    let sql = "SELECT body, answers, conflicting, answered_status FROM kept ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let status: Option<i64> = row.get(3)?;
        let told = match (row.get::<_, i64>(2)?, status) {
            (0, Some(200)) => Told::Delivered,
            (0, Some(202)) => Told::Queued,
            (0, None) => Told::Nothing,
            _ => Told::Else,
        };
        Ok((row.get(0)?, told))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn tasks(database: &Connection) -> anyhow::Result<Vec<(String, Told)>> {
    let sql = "SELECT body FROM resource JOIN (SELECT max(seq) AS seq FROM resource \
               WHERE type = 'Task' GROUP BY id) USING (seq) WHERE body IS NOT NULL ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut tasks = Vec::new();
    for row in rows {
        let task: Value = serde_json::from_str(&row?)?;
        let inputs = task["input"].as_array().into_iter().flatten();
        let payload = inputs
            .filter(|input| input["type"]["text"] == "payload")
            .find_map(|input| input["valueString"].as_str());
        let payload = payload.context("a Task has no payload")?;
        let told = match task["status"].as_str().unwrap_or_default() {
            "completed" => Told::Delivered,
            "on-hold" => Told::Uncertain,
            "accepted" | "in-progress" => Told::Waiting,
            "requested" => Told::Nothing,
            _ => Told::Else,
        };
        tasks.push((payload.to_owned(), told));
    }
    Ok(tasks)
}

/// MSH-10 as the example's README tells it: FNV-1a of 128 bits over `ID/VERSION`, folded, 20 signs of five bits, the
/// lowest first.
fn control_id(id: &str, version: &str) -> String {
    let text = format!("{id}/{version}");
    let mut rest = text.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    rest ^= rest >> 64;
    let mut name = String::with_capacity(20);
    for _ in 0..20 {
        let place = usize::try_from(rest % 32).unwrap_or_default();
        name.extend(SIGNS.get(place).map(|sign| char::from(*sign)));
        rest /= 32;
    }
    name
}

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = (1 << 88) + 0x13b;
const SIGNS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

#[cfg(test)]
mod tests {
    use super::*;

    /// What the example's own code makes of the same, run in node.
    #[test]
    fn a_version_has_the_name_that_the_bot_gives_it() {
        let id = "5e1f0000-0000-4000-8000-000000000001";
        let version = "7e120000-0000-4000-8000-000000000001";
        assert_eq!(control_id(id, version), "3ZM79JYD2P9WTDT8Z7WP");
    }
}
