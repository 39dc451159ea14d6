//! The `[cloud]` table of `wardpost.toml`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use url::{Host, Url};

use super::raw::Section;
use super::values::Found;
use super::way::{self, read_file};
use super::{Cloud, Commands, HOUR, MINUTE, SHORTEST_WAIT};
use crate::cloud::mailbox::{self, Mode};

/// Reads `[cloud]`; paths in it start at `folder`. `None` if no cloud could be reached with it.
pub(super) fn read(section: &mut Section<'_>, folder: &Path) -> Option<Cloud> {
    let url = section.required("url", "https://api.example.org/");
    let url = url.and_then(|found| check_url(section, &found));
    let agent = read_id(section, "agent");
    let client = read_id(section, "client");
    section.forbid("client_secret", SECRET_IN_FILE);
    let client_secret_file = read_file(section, "client_secret_file", folder);
    let way = way::read(section, folder);
    let receipts = section.text("receipts").map(Found::into_value);
    let commands = read_commands(section);
    let mailbox = read_mailbox(section);
    Some(Cloud {
        url: url?,
        agent: agent?,
        client: client?,
        client_secret_file,
        way,
        receipts,
        commands,
        mailbox,
    })
}

fn check_url(section: &mut Section<'_>, found: &Found<String>) -> Option<Url> {
    let mut refuse = |words| section.refuse("url", found.place, words);
    let Ok(mut url) = Url::parse(found.value.trim()) else {
        refuse(["is not a url", "write it like \"https://api.example.org/\""]);
        return None;
    };
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        refuse([
            "must begin with https:// or http://",
            "write it like \"https://api.example.org/\"",
        ]);
        return None;
    }
    if !url.username().is_empty() || url.password().is_some() {
        refuse([
            "must not hold a user or password",
            "give client and the credential client-secret",
        ]);
        return None;
    }
    if url.query().is_some() || url.fragment().is_some() {
        refuse([
            "must not have a query or fragment",
            "write only scheme, host and path",
        ]);
        return None;
    }
    if url.scheme() == "http" && !is_loopback(&url) {
        section.warn(
            "url",
            found.place,
            [
                "tokens and patient data would travel in clear",
                "write https://",
            ],
        );
    }
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Some(url)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        None => false,
    }
}

/// The id of a FHIR resource.
fn read_id(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    let found = section.required(key, EXAMPLE_ID)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if found.value.len() > 64 || !found.value.bytes().all(allowed) {
        let fix =
            "write the id alone, without the resource type: letters, digits, dots and hyphens";
        section.refuse(key, found.place, ["is not a resource id", fix]);
        return None;
    }
    if found.value == EXAMPLE_ID {
        section.warn(
            key,
            found.place,
            ["is still the id of the example", "write this site's own"],
        );
    }
    Some(found.value)
}

fn read_mailbox(section: &mut Section<'_>) -> mailbox::Rules {
    let mode = match section.flag("mailbox") {
        Some(true) => Mode::On,
        Some(false) | None => Mode::Off,
    };
    let poll = section.duration("mailbox_poll", SHORTEST_WAIT..=HOUR);
    mailbox::Rules {
        mode,
        poll: poll.map_or(MINUTE, Found::into_value),
    }
}

fn read_commands(section: &mut Section<'_>) -> Commands {
    if !section.is_list("commands") {
        section.one_of("commands", &[("all", ())]);
        return Commands::All;
    }
    let mut verbs = BTreeSet::new();
    for found in section.texts("commands").unwrap_or_default() {
        if VERBS.contains(&found.value.as_str()) {
            verbs.insert(found.value);
        } else {
            let fix = format!("known are {}", VERBS.join(", "));
            section.refuse(
                "commands",
                found.place,
                ["one of these is no command", &fix],
            );
        }
    }
    Commands::Only(verbs)
}

const SECRET_IN_FILE: [&str; 2] = [
    "a secret must not stand in this file",
    "remove it here, change it in the cloud, and give the new one as the systemd credential client-secret, or in a file that client_secret_file names",
];
/// The id in the shipped example.
const EXAMPLE_ID: &str = "00000000-0000-0000-0000-000000000000";
const VERBS: [&str; 13] = [
    "status", "devices", "queue", "why", "reload", "diag", "doctor", "hold", "release", "resend",
    "settle", "cancel", "poll",
];
