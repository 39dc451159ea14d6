//! What is wrong with a file, where, and in which words.

use super::super::devices::Defaults;
use super::super::{check as agent_file, devices as device_file};
use super::*;

/// The problems of a device file that begins with a good name and url, on lines 1 and 2.
fn device_problems(text: &str) -> Vec<String> {
    let site = Site::new(AGENT, &[("chem.toml", &format!("{CHEM}{text}\n"))]);
    let problems = site.problems();
    problems
        .iter()
        .map(|problem| problem.replace("devices.d/chem.toml:", ""))
        .collect()
}

/// The problems of a `wardpost.toml` that begins with a good cloud table, on lines 1 to 4.
fn agent_problems(text: &str) -> Vec<String> {
    let problems = Site::new(&format!("{AGENT}{text}\n"), &[]).problems();
    problems
        .iter()
        .map(|problem| problem.replace("wardpost.toml:", ""))
        .collect()
}

#[test]
fn a_file_with_ten_mistakes_reports_all_ten() {
    let text = r#"# a device
name = "Chem 1"
url = "mllp://10.0.0.7"
enabled = "yes"
colour = "blue"
[transport]
reconect_min = "1s"
connect = 10.0.0.7:2575
[hl7]
ack_timout = "30s"
app_ack_timeout = 120
[delivery]
on_uncertain = "hodl"
expires = "91d"
"#;
    let site = Site::new(AGENT, &[("chem.toml", text)]);
    assert_eq!(
        site.problems(),
        [
            "devices.d/chem.toml:2:8: name: is not a name for a device; use lower-case letters, digits and hyphens, at most 63, the first no hyphen",
            "devices.d/chem.toml:3:7: url: is not the address of a device; it names no port; write it like mllp://10.0.0.7:2575",
            "devices.d/chem.toml:4:11: enabled: takes true or false, without quotes",
            "devices.d/chem.toml:5:1: colour: unknown key; remove it; known here: name, label, url, aliases, enabled, channel, transport, tls, hl7, delivery",
            "devices.d/chem.toml:7:1: [transport] reconect_min: unknown key; did you mean reconnect_min?",
            "devices.d/chem.toml:8:15: not TOML: invalid float; put the value in quotes",
            "devices.d/chem.toml:10:1: [hl7] ack_timout: unknown key; did you mean ack_timeout?",
            "devices.d/chem.toml:11:19: [hl7] app_ack_timeout: takes a duration in quotes, for example \"30s\"",
            "devices.d/chem.toml:13:16: [delivery] on_uncertain: takes \"hold\" or \"resend\" or \"query-first\"; did you mean \"hold\"?",
            "devices.d/chem.toml:14:11: [delivery] expires: takes a duration from 1s to 90d",
        ]
    );
}

#[test]
fn a_device_file_is_told_what_is_wrong_with_a_key() {
    for (text, problem) in DEVICE_KEYS {
        assert_eq!(device_problems(text), [*problem], "{text}");
    }
}

#[test]
fn a_device_needs_a_name_and_an_address_that_this_version_can_dial() {
    for (text, problems) in DEVICE_NEEDS {
        let site = Site::new(AGENT, &[("chem.toml", text)]);
        let got: Vec<_> = site
            .problems()
            .iter()
            .map(|p| p.replace("devices.d/chem.toml:", ""))
            .collect();
        assert_eq!(got, *problems, "{text}");
    }
}

#[test]
fn the_file_of_the_agent_is_told_what_is_wrong_with_a_key() {
    for (text, problem) in AGENT_KEYS {
        assert_eq!(agent_problems(text), [*problem], "{text}");
    }
}

#[test]
fn the_agent_needs_a_cloud_and_who_it_is_there() {
    for (text, problems) in AGENT_NEEDS {
        let got: Vec<_> = Site::new(text, &[])
            .problems()
            .iter()
            .map(|p| p.replace("wardpost.toml:", ""))
            .collect();
        assert_eq!(got, *problems, "{text}");
    }
}

#[test]
fn a_file_full_of_mistakes_is_told_the_first_hundred() {
    let lines: Vec<_> = (0..5000).map(|number| format!("key{number} = 1")).collect();
    let problems = device_problems(&lines.join(
        "
",
    ));
    assert_eq!(problems.len(), 101);
    assert_eq!(
        problems[0],
        "1:1: 4900 more mistakes are not listed; correct these and check again"
    );
    let list = "1, ".repeat(1000);
    assert_eq!(device_problems(&format!("aliases = [{list}]")).len(), 101);
    let list = "\"a\", ".repeat(1001);
    let problems = device_problems(&format!("aliases = [{list}]"));
    assert_eq!(problems[0], "3:11: aliases: takes at most 1000 texts");
}

#[test]
fn no_secret_appears_in_a_problem() {
    for text in [
        "client_secret = \"hunter2\"",
        "client_secret = hunter2",
        "client_secret = \"hunter2",
        "client_secret = 'hunter2\\\"",
        "client_secret \"hunter2\"",
        "client_secret hunter2",
        "hunter2",
        "client_secret = [\"hunter2\"\n",
        "client_secret = { hunter2 }",
        "client_secret = \"\"\"hunter2\n",
        "client_secret = \"hunter2\"\nclient_secret = \"hunter2\"",
        "trust = \"hunter2\"",
        "receipts = 1hunter2",
        "commands = [\"hunter2\"]",
        "commands = \"hunter2\"",
        "client_secret_file = \"hunter2\"",
        "clientsecret = \"hunter2\"",
        "[map]\nallow_networks = [\"hunter2\"]\nunmapped = \"hunter2\"",
        "[log]\nlevel = \"hunter2\"",
        "[delivery]\nexpires = \"hunter2\"\nanswer_within = 2hunter2",
        "[limits]\nmax_queued = \"hunter2\"",
        "[cloud]\nurl = \"https://u:hunter2@x/\"",
    ] {
        for (agent, chem) in [
            (format!("{AGENT}{text}\n"), CHEM.to_owned()),
            (text.to_owned(), text.to_owned()),
            (
                format!(
                    "[cloud]\nurl = \"https://u:hunter2@x/?hunter2\"\nagent = \"hunter/2hunter2\"\n{text}"
                ),
                format!("name = \"Hunter2 hunter2\"\nurl = \"mllp://u:hunter2@h\"\n{text}"),
            ),
        ] {
            let site = Site::new(&agent, &[("chem.toml", &chem)]);
            let (problems, _) = check(&site.paths());
            let json = serde_json::to_string(&problems).unwrap();
            let said = format!("{problems:?} {json} {}", site.problems().join(" "));
            assert!(!said.contains("hunter2"), "{agent}\n{chem}\n{said}");
        }
    }
}

#[test]
fn a_file_that_was_cut_short_anywhere_is_checked_without_a_fall() {
    let whole = r#"name = "chem"
url = "mllp://10.0.0.7:2575"
aliases = ["ä", """b""", 'c']
[transport] # x
connect = "a:1"
[hl7]
max_message = 0x1_0000
[delivery]
expires = "1h"
"#;
    for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
        let (head, tail) = whole.split_at(end);
        let rest = tail.split_once('\n').map_or("", |(_, rest)| rest);
        for text in [
            head,
            tail,
            &format!("{head}{rest}"),
            &format!("{head}\0\"{tail}"),
        ] {
            let (settings, notes) = agent_file::read(Path::new("wardpost.toml"), text);
            let defaults = Defaults {
                delivery: &settings.delivery,
                limits: &settings.limits,
            };
            let (_, device) = device_file::read(Path::new("chem.toml"), text, defaults);
            for problem in notes
                .into_problems()
                .into_iter()
                .chain(device.into_problems())
            {
                assert!(
                    problem.place.line <= text.lines().count() + 1,
                    "{problem}: {text}"
                );
            }
        }
    }
}

const DEVICE_KEYS: &[(&str, &str)] = &[
    (
        "x = 1",
        "3:1: x: unknown key; remove it; known here: name, label, url, aliases, enabled, channel, transport, tls, hl7, delivery",
    ),
    ("[hl]\nx = 1", "3:2: hl: unknown table; did you mean [hl7]?"),
    (
        "[transport]\nenabled = false",
        "4:1: [transport] enabled: unknown key; it belongs at the top of the file, before the first table",
    ),
    (
        "[transport]\nack_timeout = \"1s\"",
        "4:1: [transport] ack_timeout: unknown key; it belongs in [hl7]",
    ),
    (
        "[transport]\nack_timeuot = \"1s\"",
        "4:1: [transport] ack_timeuot: unknown key; did you mean ack_timeout in [hl7]?",
    ),
    (
        "[hl7]\nack_timeout_ms = 3",
        "4:1: [hl7] ack_timeout_ms: unknown key; did you mean ack_timeout?",
    ),
    (
        "hl7 = true",
        "3:7: hl7: is not a table; write [hl7] once, and its keys below it",
    ),
    (
        "[[hl7]]\nstrict_end = true",
        "3:1: hl7: is not a table; write [hl7] once, and its keys below it",
    ),
    (
        "[hl7]\nstrict_end = true\n[hl7]\n",
        "5:2: not TOML: duplicate key; give the key or table once",
    ),
    ("label = true", "3:9: label: takes a text in quotes"),
    (
        "label = \"a\\nb\"",
        "3:9: label: takes at most 200 characters on one line",
    ),
    (
        "aliases = \"a\"",
        "3:11: aliases: takes a list of texts, for example [\"one\", \"two\"]",
    ),
    (
        "aliases = [\n \"a\",\n 3]",
        "5:2: aliases: takes a list of texts, for example [\"one\", \"two\"]",
    ),
    (
        "aliases = [\"\"]",
        "3:12: aliases: takes a list of texts, for example [\"one\", \"two\"]",
    ),
    (
        "aliases = [\"device://SELF\"]",
        "3:12: aliases: device://self is the agent itself; remove it",
    ),
    (
        "[transport]\nkind = \"serial\"",
        "4:8: [transport] kind: this version can only dial; write \"dial\"",
    ),
    (
        "[transport]\nconnect = \"10.0.0.7\"",
        "4:11: [transport] connect: is not a place to dial; write host and port, for example \"10.0.0.7:2575\" or \"[fd00::7]:2575\"",
    ),
    (
        "[transport]\nreconnect_min = \"1m\"",
        "4:17: [transport] reconnect_min: must not be longer than reconnect_max; lower it, or raise reconnect_max",
    ),
    (
        "[transport]\nconnection = \"per_message\"",
        "4:14: [transport] connection: takes \"persistent\" or \"per-message\"; did you mean \"per-message\"?",
    ),
    (
        "[hl7]\ncharset = \"utf-16\"",
        "4:11: [hl7] charset: is not a character set for HL7; use utf-8, iso-8859-1 (or another part), windows-1252, us-ascii, shift_jis, gb18030, gbk, big5 or euc-kr",
    ),
    (
        "[hl7]\nack_timeout = \"30\"",
        "4:15: [hl7] ack_timeout: is not a duration; write a whole number and ms, s, m, h or d, for example \"30s\"",
    ),
    (
        "[hl7]\nack_timeout = \"never\"",
        "4:15: [hl7] ack_timeout: is not a duration; write a whole number and ms, s, m, h or d, for example \"30s\"",
    ),
    (
        "[hl7]\nack_timeout = \"11m\"",
        "4:15: [hl7] ack_timeout: takes a duration from 10ms to 10m",
    ),
    (
        "[hl7]\nmax_message = 1.5",
        "4:15: [hl7] max_message: takes a whole number, without quotes",
    ),
    (
        "[hl7]\nmax_message = 99999999999999999999",
        "4:15: [hl7] max_message: takes a whole number, without quotes",
    ),
    (
        "[hl7]\nmax_message = -1",
        "4:15: [hl7] max_message: takes a whole number from 1024 to 67108864",
    ),
    (
        "[delivery]\nanswer_within = \"56s\"",
        "4:17: [delivery] answer_within: takes a duration from 0s to 55s",
    ),
    (
        "[delivery]\nexpires = \"Never\"",
        "4:11: [delivery] expires: is not a duration; write a whole number and ms, s, m, h or d, for example \"30s\"",
    ),
    (
        "[delivery]\non_uncertain = \"query-first\"",
        "4:16: [delivery] on_uncertain: an HL7 device of this kind cannot be asked what it has, so \"query-first\" is not possible; write \"hold\" or \"resend\"",
    ),
    (
        "[delivery]\nmax_queued = 0",
        "4:14: [delivery] max_queued: takes a whole number from 1 to 10000000",
    ),
];

const DEVICE_NEEDS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "1:1: name: missing; write name = \"chem\"",
            "1:1: url: missing; write url = \"mllp://10.0.0.7:2575\"",
        ],
    ),
    (
        "name = \"\"\nurl = \"\"",
        &[
            "1:8: name: is empty; write name = \"chem\"",
            "2:7: url: is empty; write url = \"mllp://10.0.0.7:2575\"",
        ],
    ),
    (
        "name = \"self\"\nurl = \"mllp://a:1\"",
        &["1:8: name: self is the name of the agent; give the device another name"],
    ),
    (
        "name = \"hem\"\nurl = \"mllp://a:1\"",
        &["1:8: warning: name: is not the name of the file; name the file hem.toml"],
    ),
    (
        "name = \"chem\"\nurl = \"tcp://a:1\"",
        &[
            "2:7: url: is not the address of a device; its scheme is unknown; known are mllp, mllps, astm+tcp, astm+tls, astm+serial, dicom, dicoms, mwl, device",
        ],
    ),
    (
        "name = \"chem\"\nurl = \"10.0.0.7:2575\"",
        &[
            "2:7: url: is not the address of a device; it has no scheme; write it like mllp://10.0.0.7:2575",
        ],
    ),
    (
        "name = \"chem\"\nurl = \"dicom://a/CT1\"",
        &["2:7: url: this version cannot speak dicom yet; write an mllp:// or mllps:// address"],
    ),
    (
        "name = \"chem\"\nurl = \"astm+tls://a:1\"",
        &["2:7: url: this version cannot speak astm+tls yet; write an mllp:// or mllps:// address"],
    ),
    (
        "name = \"chem\"\nurl = \"astm+serial:///dev/ttyS0\"",
        &[
            "2:7: url: this version cannot speak astm+serial yet; write an mllp:// or mllps:// address",
        ],
    ),
    (
        "name = \"chem\"\nurl = \"device://chem\"",
        &[
            "2:7: url: device:// is how a push names a device, not where it is; write the device's address, for example mllp://10.0.0.7:2575",
        ],
    ),
    (
        "name = \"chem\"\nurl = \"mllp://a:1?encoding=klingon\"",
        &[
            "2:7: url: its encoding is not a character set for HL7; use utf-8, iso-8859-1 (or another part), windows-1252, us-ascii, shift_jis, gb18030, gbk, big5 or euc-kr",
        ],
    ),
    (
        "name = \"chem\"\nurl = \"mllp://a:1?defaultReturnAck=both\"",
        &[
            "2:7: warning: url: its defaultReturnAck is unknown, first is used; write first or application",
        ],
    ),
    (
        "name = \"chem\nurl = \"mllp://a:1\"",
        &["1:13: not TOML: invalid basic string, expected `\"`"],
    ),
];

const AGENT_KEYS: &[(&str, &str)] = &[
    (
        "agnet = \"x\"",
        "5:1: [cloud] agnet: unknown key; did you mean agent?",
    ),
    (
        "trust = \"system+\"",
        "5:9: [cloud] trust: names no file after system+; write \"system+/etc/wardpost/site-ca.pem\"",
    ),
    (
        "trust = \"/nowhere/ca.pem\"",
        "5:9: warning: [cloud] trust: the file cannot be found; create it, or correct the path",
    ),
    (
        "client_secret_file = \"nowhere\"",
        "5:22: warning: [cloud] client_secret_file: the file cannot be found; create it, or correct the path",
    ),
    (
        "client_secret = \"x\"",
        "5:1: [cloud] client_secret: a secret must not stand in this file; remove it here, change it in the cloud, and give the new one as the systemd credential client-secret, or in a file that client_secret_file names",
    ),
    (
        "commands = \"none\"",
        "5:12: [cloud] commands: takes \"all\"",
    ),
    (
        "commands = [\"status\", \"reboot\"]",
        "5:23: [cloud] commands: one of these is no command; known are status, devices, queue, why, reload, diag, doctor, hold, release, resend, settle, cancel, poll",
    ),
    ("[mpa]", "5:2: mpa: unknown table; did you mean [map]?"),
    (
        "[map]\nunmapped = \"allow\"\nallow_networks = []",
        "6:12: warning: [map] unmapped: allows nothing while allow_networks is empty; add networks, or write \"refuse\"",
    ),
    (
        "[map]\nallow_networks = [\"10.0.0.7/8\"]",
        "6:19: [map] allow_networks: one of these is wrong; it has bits set after its prefix; write 10.0.0.0/8",
    ),
    (
        "[map]\nallow_networks = [\"lab\"]",
        "6:19: [map] allow_networks: one of these is wrong; it is not a network; write an address and a prefix length, for example 10.0.0.0/8",
    ),
    (
        "[map]\nallow_networks = [\"0.0.0.0/0\"]",
        "6:19: warning: [map] allow_networks: one of these is not a private network; name only the networks that devices are in",
    ),
    (
        "[delivery]\non_uncertain = \"query-first\"",
        "6:16: [delivery] on_uncertain: an HL7 device of this kind cannot be asked what it has, so \"query-first\" is not possible; write \"hold\" or \"resend\"",
    ),
    (
        "[limits]\nmax_push_bytes = 1023",
        "6:18: [limits] max_push_bytes: takes a whole number from 1024 to 67108864",
    ),
    (
        "[limits]\nmax_queued = 10\nmax_queued_total = 9",
        "6:14: warning: [limits] max_queued: is more than max_queued_total, which comes first; raise max_queued_total, or lower this",
    ),
    (
        "[retention]\nbodies = \"91d\"",
        "6:10: [retention] rows: rows must be kept at least as long as bodies; raise rows, or lower bodies",
    ),
    (
        "[log]\nlevel = \"warning\"",
        "6:9: [log] level: takes \"error\" or \"warn\" or \"info\" or \"debug\" or \"trace\"",
    ),
];

const AGENT_NEEDS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "1:1: [cloud] agent: missing; write agent = \"00000000-0000-0000-0000-000000000000\"",
            "1:1: [cloud] client: missing; write client = \"00000000-0000-0000-0000-000000000000\"",
            "1:1: [cloud] url: missing; write url = \"https://api.example.org/\"",
        ],
    ),
    (
        "[cloud]\nurl = \"api.example.org\"\nagent = \"a\"\nclient = \"c\"",
        &["2:7: [cloud] url: is not a url; write it like \"https://api.example.org/\""],
    ),
    (
        "[cloud]\nurl = \"wss://api.example.org\"\nagent = \"a\"\nclient = \"c\"",
        &[
            "2:7: [cloud] url: must begin with https:// or http://; write it like \"https://api.example.org/\"",
        ],
    ),
    (
        "[cloud]\nurl = \"https://u:p@api.example.org\"\nagent = \"a\"\nclient = \"c\"",
        &[
            "2:7: [cloud] url: must not hold a user or password; give client and the credential client-secret",
        ],
    ),
    (
        "[cloud]\nurl = \"https://api.example.org/?x\"\nagent = \"a\"\nclient = \"c\"",
        &["2:7: [cloud] url: must not have a query or fragment; write only scheme, host and path"],
    ),
    (
        "[cloud]\nurl = \"http://api.example.org\"\nagent = \"a\"\nclient = \"c\"",
        &[
            "2:7: warning: [cloud] url: tokens and patient data would travel in clear; write https://",
        ],
    ),
    (
        "[cloud]\nurl = \"http://127.0.0.1:8103\"\nagent = \"a\"\nclient = \"c\"",
        &[],
    ),
    (
        "[cloud]\nurl = \"http://[::1]:8103\"\nagent = \"a\"\nclient = \"c\"",
        &[],
    ),
    (
        "[cloud]\nurl = \"http://localhost:8103/x\"\nagent = \"a\"\nclient = \"c\"",
        &[],
    ),
    (
        "[cloud]\nurl = \"https://x\"\nagent = \"Agent/a\"\nclient = \"c\"",
        &[
            "3:9: [cloud] agent: is not a resource id; write the id alone, without the resource type: letters, digits, dots and hyphens",
        ],
    ),
];
