//! JSON Patch: `add`, `replace`, `remove`, `move`, `copy` and `test` by path.

use serde::Deserialize;
use serde_json::Value;

/// One step of a patch.
#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(tag = "op", rename_all = "lowercase")]
pub(crate) enum Step {
    Add { path: String, value: Value },
    Replace { path: String, value: Value },
    Remove { path: String },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

/// Applies all steps, or says which one does not fit.
pub(crate) fn apply(target: &Value, steps: &[Step]) -> Result<Value, String> {
    let mut patched = target.clone();
    for step in steps {
        take(&mut patched, step).ok_or_else(|| format!("Patch does not fit at {}", step.path()))?;
    }
    Ok(patched)
}

impl Step {
    fn path(&self) -> &str {
        match self {
            Self::Add { path, .. }
            | Self::Replace { path, .. }
            | Self::Remove { path }
            | Self::Move { path, .. }
            | Self::Copy { path, .. }
            | Self::Test { path, .. } => path,
        }
    }
}

fn take(target: &mut Value, step: &Step) -> Option<()> {
    match step {
        Step::Add { path, value } => add(target, path, value),
        Step::Replace { path, value } => {
            *target.pointer_mut(path)? = value.clone();
            Some(())
        }
        Step::Remove { path } => remove(target, path),
        Step::Move { from, path } => {
            let moved = target.pointer(from)?.clone();
            remove(target, from)?;
            add(target, path, &moved)
        }
        Step::Copy { from, path } => {
            let copied = target.pointer(from)?.clone();
            add(target, path, &copied)
        }
        Step::Test { path, value } => (target.pointer(path)? == value).then_some(()),
    }
}

fn add(target: &mut Value, path: &str, value: &Value) -> Option<()> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(members) => {
            members.insert(key, value.clone());
        }
        Value::Array(items) if key == "-" => items.push(value.clone()),
        Value::Array(items) => {
            let place = key.parse().ok().filter(|place| *place <= items.len())?;
            items.insert(place, value.clone());
        }
        _ => return None,
    }
    Some(())
}

fn remove(target: &mut Value, path: &str) -> Option<()> {
    let (parent, key) = split(path)?;
    match target.pointer_mut(parent)? {
        Value::Object(members) => members.remove(&key).map(drop),
        Value::Array(items) => {
            let place = key.parse().ok().filter(|place| *place < items.len())?;
            items.remove(place);
            Some(())
        }
        _ => None,
    }
}

/// The parent's pointer, and the last key unescaped.
fn split(path: &str) -> Option<(&str, String)> {
    let (parent, key) = path.rsplit_once('/')?;
    Some((parent, key.replace("~1", "/").replace("~0", "~")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(steps: &Value, expected: Result<Value, &str>) {
        let target = json!({ "status": "active", "list": [1, 2] });
        let steps: Vec<Step> = serde_json::from_value(steps.clone()).unwrap();
        assert_eq!(apply(&target, &steps), expected.map_err(str::to_owned));
    }

    #[test]
    fn members_and_items_are_added_replaced_and_removed() {
        check(
            &json!([{ "op": "add", "path": "/list/-", "value": 3 }, { "op": "remove", "path": "/list/0" }]),
            Ok(json!({ "status": "active", "list": [2, 3] })),
        );
        check(
            &json!([{ "op": "replace", "path": "/status", "value": "off" }, { "op": "add", "path": "/a~1b", "value": 1 }]),
            Ok(json!({ "status": "off", "list": [1, 2], "a/b": 1 })),
        );
        check(
            &json!([{ "op": "copy", "from": "/list/1", "path": "/list/0" }, { "op": "move", "from": "/status", "path": "/was" }]),
            Ok(json!({ "was": "active", "list": [2, 1, 2] })),
        );
    }

    #[test]
    fn a_step_that_does_not_fit_refuses_the_whole_patch() {
        let failed_test = json!([
            { "op": "remove", "path": "/list/0" },
            { "op": "test", "path": "/status", "value": "off" },
        ]);
        check(&failed_test, Err("Patch does not fit at /status"));
        let nowhere = json!([{ "op": "replace", "path": "/none", "value": 1 }]);
        check(&nowhere, Err("Patch does not fit at /none"));
        let beyond = json!([{ "op": "add", "path": "/list/9", "value": 1 }]);
        check(&beyond, Err("Patch does not fit at /list/9"));
    }
}
