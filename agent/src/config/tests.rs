use std::fs;
use std::path::Path;

use agent_core::push::{HoldScope, OnUncertain, WhenUnreachable};
use agent_core::route::{Route, Table};
use tempfile::TempDir;

use super::*;
use crate::tls::Trust;

mod documented;
mod refusals;
mod way_out;

const AGENT: &str =
    "[cloud]\nurl = \"https://api.example.org\"\nagent = \"a-1\"\nclient = \"c-1\"\n";
const CHEM: &str = "name = \"chem\"\nurl = \"mllp://10.0.0.7:2575\"\n";

/// A configuration in a folder of its own.
struct Site {
    folder: TempDir,
}

impl Site {
    fn new(agent: &str, devices: &[(&str, &str)]) -> Self {
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(site.paths().devices).unwrap();
        fs::write(site.paths().config, agent).unwrap();
        for (name, text) in devices {
            site.write(name, text.as_bytes());
        }
        site
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.paths().devices.join(name), bytes).unwrap();
    }

    fn paths(&self) -> Paths {
        Paths::new(self.folder.path().join("wardpost.toml"), None)
    }

    fn load(&self) -> Config {
        load(&self.paths()).unwrap().config
    }

    /// All problems as printed, without the folder.
    fn problems(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        check(&self.paths())
            .0
            .iter()
            .map(|problem| problem.to_string().replace(&folder, ""))
            .collect()
    }
}

fn device(text: &str) -> DeviceConfig {
    let site = Site::new(AGENT, &[("chem.toml", &format!("{CHEM}{text}"))]);
    assert_eq!(site.problems(), Vec::<String>::new());
    site.load().devices.remove(0)
}

#[test]
fn a_short_configuration_gets_every_default() {
    let config = Site::new(AGENT, &[]).load();
    assert_eq!(config.cloud.url.as_str(), "https://api.example.org/");
    assert_eq!(config.cloud.way, WayOut::default());
    assert_eq!(config.cloud.commands, Commands::All);
    assert_eq!(config.cloud.receipts, None);
    assert_eq!(config.unmapped, Unmapped::Refuse);
    assert_eq!(config.limits, Limits::default());
    assert_eq!(
        config.retention,
        Retention {
            bodies: 7 * DAY,
            rows: 90 * DAY
        }
    );
    assert_eq!(config.level, Level::INFO);
    assert!(config.devices.is_empty() && config.broken.is_empty());
}

#[test]
fn a_short_device_file_gets_every_default() {
    let chem = device("");
    assert_eq!(
        (chem.name.as_str(), chem.label.as_str(), chem.enabled),
        ("chem", "chem", true)
    );
    assert_eq!(chem.dial.to_string(), "10.0.0.7:2575");
    assert_eq!(
        (chem.timing, chem.lifetime),
        (Timing::default(), Lifetime::Persistent)
    );
    assert_eq!(chem.hl7, Hl7::default());
    assert_eq!(chem.channel, None);
    let policy = chem.policy;
    assert_eq!(policy.answer_within, 8 * SECOND);
    assert_eq!(policy.when_unreachable, WhenUnreachable::Queue);
    assert_eq!(policy.rejoin_window, 10 * MINUTE);
    assert_eq!(policy.on_uncertain, OnUncertain::Hold);
    assert_eq!(policy.hold_scope, HoldScope::Order);
    assert_eq!(policy.expires, Some(72 * HOUR));
    assert_eq!((policy.paused, policy.max_queued), (false, 100_000));
}

#[test]
fn a_device_file_says_how_its_device_is_reached() {
    let chem = device(
        "label = \"Chemistry 1\"\naliases = [\"lab 1\", \"mllp://chem.lab:2575\"]\nenabled = false\nchannel = \"results\"\n\
         [transport]\nkind = \"dial\"\nconnect = \"[fd00::7]:6661\"\nreconnect_min = \"1s\"\nreconnect_max = \"1m\"\n\
         keepalive = \"1m\"\nconnect_timeout = \"2s\"\nconnection = \"per-message\"\n\
         [hl7]\nreturn_ack = \"application\"\ncharset = \"iso-8859-1\"\nack_timeout = \"5s\"\napp_ack_timeout = \"1h\"\n\
         strict_end = true\nmax_message = 0x10_000\n",
    );
    assert_eq!((chem.label.as_str(), chem.enabled), ("Chemistry 1", false));
    assert_eq!(chem.channel.as_deref(), Some("results"));
    assert_eq!(chem.dial.to_string(), "[fd00::7]:6661");
    let timing = [
        chem.timing.reconnect_min,
        chem.timing.reconnect_max,
        chem.timing.keepalive,
    ];
    assert_eq!(timing, [SECOND, MINUTE, MINUTE]);
    assert_eq!(
        (chem.timing.connect_timeout, chem.lifetime),
        (2 * SECOND, Lifetime::PerMessage)
    );
    assert_eq!(chem.hl7.return_ack, Some(ReturnAck::Application));
    assert_eq!(chem.hl7.charset, Charset::by_name("iso-8859-1").ok());
    assert_eq!(
        (chem.hl7.ack_timeout, chem.hl7.app_ack_timeout),
        (5 * SECOND, HOUR)
    );
    assert_eq!(
        (chem.hl7.strict_end, chem.hl7.max_message),
        (true, 0x1_0000)
    );

    let table = Table::new(vec![chem.entry(DeviceNo(4))], Unmapped::Refuse).unwrap();
    for remote in [
        "mllp://10.0.0.7:2575?x=y",
        "mllp://CHEM.lab:2575",
        "lab 1",
        "device://chem",
    ] {
        assert_eq!(table.resolve(remote), Route::Found(DeviceNo(4)), "{remote}");
    }
    assert_eq!(table.host("10.0.0.7").unwrap().dial, chem.dial);
}

#[test]
fn the_device_file_comes_before_the_defaults_of_the_agent() {
    let agent = format!(
        "{AGENT}[delivery]\nanswer_within = \"5s\"\nexpires = \"never\"\nmax_queued = 7\non_uncertain = \"resend\"\n\
         [limits]\nmax_queued = 9\n"
    );
    let own = "[delivery]\nanswer_within = \"0s\"\nexpires = \"90d\"\nwhen_unreachable = \"fail\"\nhold_scope = \"device\"\n\
               rejoin_window = \"0s\"\npaused = true\nmax_queued = 8\non_uncertain = \"hold\"\n";
    let site = Site::new(
        &agent,
        &[
            ("chem.toml", &format!("{CHEM}{own}")),
            ("b.toml", "name = \"b\"\nurl = \"mllp://b:1\"\n"),
        ],
    );
    assert_eq!(site.problems(), Vec::<String>::new());
    let config = site.load();
    let [b, chem] = &config.devices[..] else {
        panic!("two devices")
    };
    assert_eq!(
        (
            b.policy.answer_within,
            b.policy.expires,
            b.policy.max_queued
        ),
        (5 * SECOND, None, 7)
    );
    assert_eq!(b.policy.on_uncertain, OnUncertain::Resend);
    assert_eq!(config.unmapped_policy, b.policy);
    assert_eq!(
        (chem.policy.answer_within, chem.policy.rejoin_window),
        (Duration::ZERO, Duration::ZERO)
    );
    assert_eq!(
        (chem.policy.expires, chem.policy.max_queued),
        (Some(90 * DAY), 8)
    );
    assert_eq!(chem.policy.when_unreachable, WhenUnreachable::Fail);
    assert_eq!(
        (chem.policy.hold_scope, chem.policy.paused),
        (HoldScope::Device, true)
    );
    assert_eq!(chem.policy.on_uncertain, OnUncertain::Hold);
}

#[test]
fn the_limit_of_the_agent_counts_where_no_delivery_table_says_otherwise() {
    let config = Site::new(
        &format!("{AGENT}[limits]\nmax_queued = 9\n"),
        &[("chem.toml", CHEM)],
    )
    .load();
    assert_eq!(config.devices[0].policy.max_queued, 9);
}

#[test]
fn the_cloud_table_says_whom_to_trust_and_what_the_cloud_may_ask() {
    let site = Site::new(
        &format!(
            "{AGENT}client_secret_file = \"secret\"\ntrust = \"system+/site/ca.pem\"\nreceipts = \"news\"\n\
             commands = [\"status\", \"why\"]\n[map]\nunmapped = \"allow\"\nallow_networks = [\"10.0.0.0/8\"]\n\
             [retention]\nbodies = \"1d\"\nrows = \"1d\"\n[log]\nlevel = \"debug\"\n"
        ),
        &[],
    );
    let config = site.load();
    let secret = site.folder.path().join("secret");
    assert_eq!(config.cloud.secret(), Secret::File(secret));
    assert_eq!(
        config.cloud.way.trust,
        Trust::SystemAnd("/site/ca.pem".into())
    );
    assert_eq!(config.cloud.receipts.as_deref(), Some("news"));
    assert!(config.cloud.commands.allow("why") && !config.cloud.commands.allow("settle"));
    assert_eq!(
        config.unmapped,
        Unmapped::Allow(vec!["10.0.0.0/8".parse().unwrap()])
    );
    assert_eq!(
        config.retention,
        Retention {
            bodies: DAY,
            rows: DAY
        }
    );
    assert_eq!(config.level, Level::DEBUG);
}

#[test]
fn the_secret_is_a_credential_where_no_file_is_named() {
    let cloud = Site::new(AGENT, &[]).load().cloud;
    assert_eq!(cloud.secret(), Secret::Credential("client-secret".into()));
}

#[test]
fn allowing_unmapped_devices_means_private_networks_unless_told_otherwise() {
    let config = Site::new(&format!("{AGENT}[map]\nunmapped = \"allow\"\n"), &[]).load();
    let Unmapped::Allow(networks) = config.unmapped else {
        panic!("not allowed")
    };
    let shown: Vec<_> = networks.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]
    );
}

#[test]
fn a_loopback_device_may_be_mapped() {
    let site = Site::new(
        AGENT,
        &[("a.toml", "name = \"a\"\nurl = \"mllp://127.0.0.1:2575\"\n")],
    );
    assert_eq!(site.problems(), Vec::<String>::new());
}

#[test]
fn a_bad_device_file_disables_its_device_only() {
    let site = Site::new(
        AGENT,
        &[
            (
                "a.toml",
                "name = \"a\"\nurl = \"mllp://a:1\"\n[hl7]\nack_timout = \"1s\"\n",
            ),
            ("b.toml", "this is no file\n"),
            ("chem.toml", CHEM),
        ],
    );
    let config = site.load();
    assert_eq!(config.devices.len(), 1);
    assert_eq!(config.devices[0].name, "chem");
    let [a, b] = &config.broken[..] else {
        panic!("two broken files")
    };
    assert_eq!(a.name.as_deref(), Some("a"));
    assert_eq!(a.address, "mllp://a:1".parse().ok());
    assert_eq!(a.problems.len(), 1);
    assert!(b.name.is_none() && b.file.ends_with("b.toml"));
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let site = Site::new(AGENT, &[("chem.toml", CHEM)]);
    assert!(reload(&site.paths()).is_ok());
    site.write("bad.toml", b"name = 3\nurl = \"mllp://a:1\"\n");
    let problems = reload(&site.paths()).unwrap_err();
    assert_eq!(problems.len(), 1);
}

#[test]
fn a_bad_file_of_the_agent_is_an_error_that_names_the_mistakes_of_all_files() {
    let site = Site::new("[cloud]\n", &[("chem.toml", &format!("{CHEM}x = 1\n"))]);
    let problems = load(&site.paths()).unwrap_err();
    let keys: Vec<_> = problems
        .iter()
        .map(|problem| problem.key.as_str())
        .collect();
    assert_eq!(keys, ["x", "cloud.agent", "cloud.client", "cloud.url"]);
}

#[test]
fn two_files_that_claim_the_same_are_both_refused() {
    let copy = "name = \"copy\"\nurl = \"MLLP://10.0.0.7:2575/x?encoding=utf-8\"\n";
    let site = Site::new(
        AGENT,
        &[
            ("chem.toml", CHEM),
            ("copy.toml", copy),
            ("other.toml", "name = \"other\"\nurl = \"mllp://o:1\"\n"),
        ],
    );
    let fix = "change one of them; until then neither device gets anything";
    assert_eq!(
        site.problems(),
        [
            format!("devices.d/chem.toml:2:7: url: says the same as url of copy.toml, line 2; {fix}"),
            format!("devices.d/copy.toml:2:7: url: says the same as url of chem.toml, line 2; {fix}"),
            "devices.d/copy.toml:2:7: warning: [transport] connect: dials the same host and port as chem.toml; \
             pushes to the two are not kept in order; use one device with aliases if it is one"
                .to_owned(),
        ]
    );
    let config = site.load();
    assert_eq!(config.devices.len(), 1);
    assert_eq!(config.broken.len(), 2);
}

#[test]
fn names_and_aliases_clash_too_and_a_file_never_with_itself() {
    for (first, second, clashes) in [
        (
            "name = \"chem\"\nurl = \"mllp://a:1\"",
            "name = \"chem\"\nurl = \"mllp://b:1\"",
            2,
        ),
        (
            "name = \"a\"\nurl = \"mllp://a:1\"\naliases = [\"x\"]",
            "name = \"b\"\nurl = \"mllp://b:1\"\naliases = [\"x\"]",
            2,
        ),
        (
            "name = \"a\"\nurl = \"mllp://a:1\"\naliases = [\"mllp://B:1/\"]",
            "name = \"b\"\nurl = \"mllp://b:1\"",
            2,
        ),
        (
            "name = \"a\"\nurl = \"mllp://a:1\"\naliases = [\"device://b\"]",
            "name = \"b\"\nurl = \"mllp://b:1\"",
            2,
        ),
        (
            "name = \"a\"\nurl = \"mllp://a:1\"\naliases = [\"x\", \"x\", \"mllp://a:1\"]",
            "name = \"b\"\nurl = \"mllp://b:1\"",
            0,
        ),
        (
            "name = \"a\"\nurl = \"mllp://a:1\"",
            "name = \"b\"\nurl = \"mllp://a:2\"",
            0,
        ),
    ] {
        let site = Site::new(AGENT, &[("a.toml", first), ("b.toml", second)]);
        let says = |problem: &String| problem.contains("says the same");
        assert_eq!(
            site.problems().iter().filter(|p| says(p)).count(),
            clashes,
            "{first} {second}"
        );
    }
}

#[test]
fn only_visible_toml_files_are_device_files() {
    let site = Site::new(
        AGENT,
        &[
            ("chem.toml", CHEM),
            (".x.toml", "?"),
            ("x.toml~", "?"),
            ("README", "?"),
        ],
    );
    assert_eq!(site.problems(), Vec::<String>::new());
    assert_eq!(check(&site.paths()).1, 1);
}

#[test]
fn a_site_without_device_files_is_a_site_without_devices() {
    let site = Site::new(AGENT, &[]);
    fs::remove_dir(site.paths().devices).unwrap();
    assert_eq!(site.problems(), Vec::<String>::new());
}

#[test]
fn what_cannot_be_read_as_text_is_a_problem_of_its_file() {
    let site = Site::new(AGENT, &[("chem.toml", CHEM)]);
    site.write("latin.toml", b"name = \"\xe4\"\n");
    site.write("large.toml", &vec![b'#'; 1024 * 1024 + 1]);
    fs::create_dir(site.paths().devices.join("folder.toml")).unwrap();
    let problems = site.problems();
    assert_eq!(problems.len(), 3, "{problems:?}");
    for (problem, words) in
        problems
            .iter()
            .zip(["cannot be read", "larger than 1 MiB", "not UTF-8"])
    {
        assert!(problem.contains(words), "{problem}");
    }
    assert_eq!(site.load().devices.len(), 1);
}

#[test]
fn a_file_over_the_limit_of_devices_is_refused() {
    let agent = format!("{AGENT}[limits]\nmax_devices = 1\n");
    let site = Site::new(
        &agent,
        &[
            ("a.toml", "name = \"a\"\nurl = \"mllp://a:1\"\n"),
            ("chem.toml", CHEM),
        ],
    );
    let config = site.load();
    assert_eq!((config.devices.len(), config.broken.len()), (1, 1));
    assert_eq!(config.broken[0].name.as_deref(), Some("chem"));
}
