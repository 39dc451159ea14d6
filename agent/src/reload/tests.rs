//! What is found to have changed, between two configurations as their files say them.

use std::fs;
use std::path::Path;

use agent_core::push::Timestamp;
use tempfile::TempDir;

use super::plan::{DeviceChange, LineChange, UplinkChange};
use super::*;

const AGENT: &str = "[cloud]\nurl = \"https://c.example/\"\nagent = \"a\"\nclient = \"c\"\n";
const CHEM: &str = "name = \"chem\"\nurl = \"mllp://10.0.0.7:2575\"\n";
const COAG: &str = "name = \"coag\"\nurl = \"mllp://10.0.0.8:2575\"\n";

/// Files of a site: its own, and those of devices by name.
struct Files<'a> {
    agent: String,
    devices: Vec<(&'a str, String)>,
}

fn files<'a>(agent: &str, devices: &[(&'a str, &str)]) -> Files<'a> {
    Files {
        agent: format!("{AGENT}{agent}"),
        devices: devices
            .iter()
            .map(|(name, text)| (*name, (*text).to_owned()))
            .collect(),
    }
}

fn write(folder: &Path, files: &Files<'_>) -> Paths {
    let paths = Paths::new(folder.join("wardpost.toml"), None);
    fs::create_dir_all(&paths.devices).unwrap();
    fs::write(&paths.config, &files.agent).unwrap();
    for (name, text) in &files.devices {
        fs::write(paths.devices.join(format!("{name}.toml")), text).unwrap();
    }
    paths
}

fn applied(files: &Files<'_>) -> (Applied, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let loaded = config::reload(&write(folder.path(), files)).unwrap();
    let applied = Applied {
        uplink: Settings::read(&loaded.config, &Watch::default()),
        faults: proofs::faults(&loaded.config),
        config: loaded.config,
        at: Timestamp(0),
    };
    (applied, folder)
}

fn plan(old: &Files<'_>, new: &Files<'_>) -> Plan {
    let ((old, _old), (new, _new)) = (applied(old), applied(new));
    Plan::between(&old, &new)
}

#[test]
fn equal_files_change_nothing() {
    let files = files(
        "[limits]\nmax_devices = 7\n",
        &[("chem", CHEM), ("coag", COAG)],
    );
    assert!(plan(&files, &files).is_empty());
}

/// What changes for `chem` when these lines are added to its file.
fn change(before: &str, after: &str) -> DeviceChange {
    let old = files("", &[("chem", &format!("{CHEM}{before}")), ("coag", COAG)]);
    let new = files("", &[("chem", &format!("{CHEM}{after}")), ("coag", COAG)]);
    let Plan {
        added,
        removed,
        mut changed,
        settings,
        uplink,
        ..
    } = plan(&old, &new);
    assert!(added.is_empty() && removed.is_empty() && settings.is_empty());
    assert_eq!((changed.len(), uplink), (1, UplinkChange::Stays), "{after}");
    changed.remove(0)
}

#[test]
fn each_key_of_a_device_says_what_it_does_to_the_line() {
    let table = [
        ("label = \"Cobas\"\n", "label", LineChange::Stays),
        ("aliases = [\"x\"]\n", "aliases", LineChange::Stays),
        ("channel = \"x\"\n", "channel", LineChange::Stays),
        (
            "[delivery]\npaused = true\n",
            "delivery.paused",
            LineChange::Stays,
        ),
        (
            "[delivery]\nexpires = \"1h\"\n",
            "delivery.expires",
            LineChange::Stays,
        ),
        (
            "[delivery]\nmax_queued = 5\n",
            "delivery.max_queued",
            LineChange::Stays,
        ),
        (
            "[delivery]\non_uncertain = \"resend\"\n",
            "delivery.on_uncertain",
            LineChange::Stays,
        ),
        (
            "[transport]\nconnect = \"10.0.0.9:1\"\n",
            "transport.connect",
            LineChange::Exchanged,
        ),
        (
            "[transport]\nkeepalive = \"1m\"\n",
            "transport.keepalive",
            LineChange::Exchanged,
        ),
        (
            "[transport]\nconnection = \"per-message\"\n",
            "transport.connection",
            LineChange::Exchanged,
        ),
        (
            "[hl7]\nack_timeout = \"1m\"\n",
            "hl7.ack_timeout",
            LineChange::Exchanged,
        ),
        (
            "[hl7]\ncharset = \"iso-8859-1\"\n",
            "hl7.charset",
            LineChange::Exchanged,
        ),
        (
            "[hl7]\nstrict_end = true\n",
            "hl7.strict_end",
            LineChange::Exchanged,
        ),
    ];
    for (lines, key, line) in table {
        let found = change("", lines);
        assert_eq!((found.keys, found.line), (vec![key], line), "{lines}");
    }
}

#[test]
fn a_device_that_is_switched_ends_or_starts_whatever_else_changed() {
    let off = "enabled = false\n[hl7]\nstrict_end = true\n";
    let found = change("", off);
    assert_eq!(found.keys, ["enabled", "hl7.strict_end"]);
    assert_eq!(found.line, LineChange::Ends);
    assert_eq!(change(off, "").line, LineChange::Starts);
    let still_off = change("enabled = false\n", off);
    assert_eq!(still_off.line, LineChange::Stays);
}

#[test]
fn a_setting_that_comes_to_the_same_changes_nothing() {
    let written = format!("{CHEM}[transport]\nconnect = \"10.0.0.7:2575\"\n");
    let found = plan(
        &files("", &[("chem", CHEM)]),
        &files(
            "[delivery]\nanswer_within = \"8s\"\n",
            &[("chem", &written)],
        ),
    );
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn another_url_under_the_same_name_is_a_change_and_under_another_name_a_new_device() {
    let moved = CHEM.replace("10.0.0.7", "10.0.0.70");
    let found = plan(
        &files("", &[("chem", CHEM)]),
        &files("", &[("chem", &moved)]),
    );
    assert_eq!(found.changed[0].keys, ["url"]);
    assert_eq!(found.changed[0].line, LineChange::Exchanged);
    let renamed = CHEM.replace("chem", "chem-2");
    let found = plan(
        &files("", &[("chem", CHEM)]),
        &files("", &[("chem-2", &renamed)]),
    );
    assert_eq!(
        (found.added, found.removed),
        (vec!["chem-2".to_owned()], vec!["chem".to_owned()])
    );
    assert_eq!(
        (found.renamed[0].from.as_str(), found.renamed[0].to.as_str()),
        ("chem", "chem-2")
    );
}

#[test]
fn a_default_of_delivery_changes_every_device_that_does_not_say_it_itself() {
    let own = format!("{COAG}[delivery]\npaused = false\n");
    let devices = [("chem", CHEM), ("coag", own.as_str())];
    let found = plan(
        &files("", &devices),
        &files("[delivery]\npaused = true\n", &devices),
    );
    assert_eq!(found.settings, ["delivery"]);
    assert_eq!(found.changed.len(), 1);
    assert_eq!(found.changed[0].device, "chem");
    assert_eq!(found.changed[0].line, LineChange::Stays);
}

#[test]
fn only_the_way_to_the_cloud_and_who_we_are_there_renew_the_session() {
    let table = [
        (
            "[limits]\nmax_push_bytes = 2048\n",
            "limits.max_push_bytes",
            UplinkChange::Stays,
        ),
        (
            "[limits]\nmax_queued_total = 2000000\n",
            "limits.max_queued_total",
            UplinkChange::Stays,
        ),
        (
            "[retention]\nbodies = \"1d\"\n",
            "retention.bodies",
            UplinkChange::Stays,
        ),
        (
            "[log]\nlevel = \"debug\"\n",
            "log.level",
            UplinkChange::Stays,
        ),
        (
            "[map]\nunmapped = \"allow\"\n",
            "map.unmapped",
            UplinkChange::Stays,
        ),
        (
            "commands = [\"status\"]\n",
            "cloud.commands",
            UplinkChange::Stays,
        ),
        ("receipts = \"x\"\n", "cloud.receipts", UplinkChange::Stays),
        (
            "proxy = \"none\"\n",
            "cloud.proxy",
            UplinkChange::Reconnects,
        ),
    ];
    for (lines, key, uplink) in table {
        let found = plan(&files("", &[]), &files(lines, &[]));
        assert_eq!(
            (found.settings, found.uplink),
            (vec![key], uplink),
            "{lines}"
        );
    }
    let mut elsewhere = files("", &[]);
    elsewhere.agent = elsewhere.agent.replace("agent = \"a\"", "agent = \"b\"");
    let found = plan(&files("", &[]), &elsewhere);
    assert_eq!(found.settings, ["cloud.agent"]);
    assert_eq!(found.uplink, UplinkChange::Reconnects);
}

#[test]
fn what_is_refused_is_told_whole_on_the_box_and_shortened_for_the_cloud() {
    let refused = Refused {
        problems: (0..7).map(|number| format!("mistake {number}")).collect(),
    };
    let sentence = refused.sentence();
    assert!(
        sentence.starts_with("nothing was changed: mistake 0; mistake 1;"),
        "{sentence}"
    );
    assert!(
        sentence.ends_with("and 2 more, see the log of the agent"),
        "{sentence}"
    );
    assert_eq!(refused.json()["problems"].as_array().unwrap().len(), 7);
}
