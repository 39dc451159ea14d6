//! The shipped examples and the reference are true.

use std::collections::BTreeSet;

use super::super::devices::Defaults;
use super::super::notes::path_of;
use super::super::{check as agent_file, devices as device_file};
use super::*;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The keys of both kinds of file, each after the name of its kind.
fn known_keys() -> BTreeSet<String> {
    let (settings, agent) = agent_file::read(Path::new("wardpost.toml"), "");
    let defaults = Defaults {
        delivery: &settings.delivery,
        limits: &settings.limits,
    };
    let (_, device) = device_file::read(Path::new("chem.toml"), "", defaults);
    let agent = agent
        .known()
        .map(|(table, key)| format!("wardpost.toml {}", path_of(table, key)));
    let device = device
        .known()
        .map(|(table, key)| format!("devices.d {}", path_of(table, key)));
    let tables = [
        "cloud",
        "map",
        "limits",
        "alarms",
        "retention",
        "log",
        "transport",
        "tls",
        "hl7",
        "delivery",
    ];
    let is_table = |key: &String| {
        tables
            .iter()
            .any(|table| key.ends_with(&format!(" {table}")))
    };
    agent.chain(device).filter(|key| !is_table(key)).collect()
}

/// The keys in the tables of the reference, in the same form.
fn documented_keys(reference: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let (mut file, mut table) = ("", String::new());
    for line in reference.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            file = heading.split('/').next().unwrap();
        } else if let Some(heading) = line.strip_prefix("### ") {
            let name = heading
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            table = name.map(|name| format!("{name}.")).unwrap_or_default();
        } else if let Some((key, _)) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split_once('`'))
        {
            keys.insert(format!("{file} {table}{key}"));
        }
    }
    keys.retain(|key| key.starts_with("wardpost.toml ") || key.starts_with("devices.d "));
    let shared = keys
        .iter()
        .filter_map(|key| key.strip_prefix("devices.d delivery."));
    let shared: Vec<_> = shared
        .map(|key| format!("wardpost.toml delivery.{key}"))
        .collect();
    keys.extend(shared);
    keys
}

/// The keys that a file sets or shows commented out.
fn shown_keys(file: &str, text: &str) -> BTreeSet<String> {
    let mut table = String::new();
    let mut keys = BTreeSet::new();
    for line in text.lines() {
        let code = line.trim_start_matches("# ");
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            table = format!("{name}.");
        } else if let Some((key, _)) = code.split_once(" = ").filter(|(key, _)| !key.contains(' '))
        {
            keys.insert(format!("{file} {table}{key}"));
        }
    }
    keys
}

#[test]
fn the_shipped_examples_have_no_errors() {
    let folder = project().join("config");
    let (problems, devices) = check(&Paths::new(folder.join("wardpost.toml"), None));
    let errors: Vec<_> = problems
        .iter()
        .filter(|p| p.is_error())
        .map(ToString::to_string)
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    let warned: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(
        warned,
        ["cloud.agent", "cloud.client"],
        "the ids of the example are pointed out"
    );
    assert!(devices >= 2);
}

#[test]
fn the_shipped_examples_show_the_built_in_defaults() {
    let folder = project().join("config");
    let shipped = load(&Paths::new(folder.join("wardpost.toml"), None))
        .unwrap()
        .config;
    let short = Site::new(AGENT, &[]).load();
    assert_eq!(shipped.limits, short.limits);
    assert_eq!(shipped.retention, short.retention);
    assert_eq!(shipped.unmapped_policy, short.unmapped_policy);
    assert_eq!(
        (shipped.level, shipped.unmapped),
        (short.level, short.unmapped)
    );
    let chem = shipped
        .devices
        .iter()
        .find(|device| device.name == "chem-1")
        .unwrap();
    assert_eq!(
        (&chem.timing, &chem.hl7),
        (&Timing::default(), &Hl7::default())
    );
    assert_eq!(chem.policy, short.unmapped_policy);
}

#[test]
fn the_shipped_examples_show_every_key() {
    let folder = project().join("config");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let mut shown = shown_keys("wardpost.toml", &read("wardpost.toml"));
    shown.extend(shown_keys("devices.d", &read("devices.d/chem-1.toml")));
    shown.extend(shown_keys("devices.d", &read("devices.d/poct-1.toml")));
    let shown_once: Vec<_> = shown
        .iter()
        .filter_map(|key| key.strip_prefix("wardpost.toml delivery."))
        .collect();
    let shown_once: Vec<_> = shown_once
        .iter()
        .map(|key| format!("devices.d delivery.{key}"))
        .collect();
    shown.extend(shown_once);
    assert_eq!(shown, known_keys());
}

#[test]
fn the_reference_lists_every_key_and_no_other() {
    let reference = fs::read_to_string(project().join("docs/configuration.md")).unwrap();
    assert_eq!(documented_keys(&reference), known_keys());
}
