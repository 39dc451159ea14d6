//! The `[tls]` table of a device file: how the device proves who it is, and who we are to it.

use std::path::Path;

use agent_core::route::Address;
use rustls::pki_types::ServerName;

use super::raw::Section;
use super::values::Found;
use super::way::{CLIENT_KEY, KEY_IN_FILE, check_file, read_identity, read_trust};
use crate::secret::Secret;
use crate::tls::{Identity, Pin, Proof, Trust};

/// TLS with one device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceTls {
    pub proof: Proof,
    /// The name that must be in its certificate.
    pub name: ServerName<'static>,
    pub identity: Option<Identity>,
}

impl DeviceTls {
    /// What holds where no file says anything: the system's trust, and the host's own name.
    pub fn of(address: &Address) -> Option<Self> {
        if !address.scheme().is_secure() {
            return None;
        }
        let host = address.host_port()?.host.to_string();
        Some(Self {
            proof: Proof::Signed(Trust::System),
            name: ServerName::try_from(host).ok()?,
            identity: None,
        })
    }
}

/// Reads `[tls]`; paths in it start at the folder of the file. `None` where the url asks for no TLS.
pub(super) fn read(
    top: &mut Section<'_>,
    file: &Path,
    address: Option<&Address>,
) -> Option<DeviceTls> {
    let written = top.peek("tls").map(|(_, place)| place);
    let folder = file.parent().unwrap_or(Path::new(""));
    let read = top.table("tls", |section| read_table(section, folder));
    let secure = address.is_none_or(|address| address.scheme().is_secure());
    if let Some(place) = written.filter(|_| !secure) {
        let words = [
            "is for devices whose url asks for TLS",
            "write mllps:// in url, or remove [tls]",
        ];
        top.refuse("tls", place, words);
    }
    let plain = DeviceTls::of(address?)?;
    Some(DeviceTls {
        proof: read.proof,
        name: read.name.unwrap_or(plain.name),
        identity: read.identity,
    })
}

struct Table {
    proof: Proof,
    name: Option<ServerName<'static>>,
    identity: Option<Identity>,
}

fn read_table(section: &mut Section<'_>, folder: &Path) -> Table {
    section.forbid("client_key", KEY_IN_FILE);
    let trust = read_trust(section, folder);
    let pins = read_pins(section, folder);
    let credential = section.text("client_key_credential");
    let credential = credential.and_then(|found| check_credential(section, found));
    let key = Secret::Credential(credential.unwrap_or_else(|| CLIENT_KEY.into()));
    Table {
        proof: match (trust, pins.is_empty()) {
            (trust, true) => Proof::Signed(trust.unwrap_or_default()),
            (None, false) => Proof::Pinned(pins),
            (Some(trust), false) => Proof::Both(trust, pins),
        },
        name: read_name(section),
        identity: read_identity(section, folder, key),
    }
}

/// A fingerprint, a file, or a list of those.
fn read_pins(section: &mut Section<'_>, folder: &Path) -> Vec<Pin> {
    let written = if section.is_list("pin") {
        section.texts("pin").unwrap_or_default()
    } else {
        section.text("pin").into_iter().collect()
    };
    let mut pins = Vec::new();
    for found in written {
        if !found.value.starts_with("sha256:") {
            pins.push(Pin::File(check_file(
                section,
                "pin",
                folder.join(&found.value),
                &found,
            )));
            continue;
        }
        match found.value.parse() {
            Ok(print) => pins.push(Pin::Print(print)),
            Err(error) => {
                let fix = format!("{error}; openssl x509 -noout -fingerprint -sha256 shows it");
                section.refuse("pin", found.place, ["is not a fingerprint", &fix]);
            }
        }
    }
    pins
}

fn read_name(section: &mut Section<'_>) -> Option<ServerName<'static>> {
    let found = section.text("server_name")?;
    let Ok(name) = ServerName::try_from(found.value) else {
        let fix = "write a name or an address that is in the device's certificate";
        section.refuse(
            "server_name",
            found.place,
            ["is not a name of a server", fix],
        );
        return None;
    };
    Some(name)
}

/// The name becomes the name of a file in a folder of the service manager's.
fn check_credential(section: &mut Section<'_>, found: Found<String>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if found.value.len() > 64 || !found.value.bytes().all(allowed) || found.value.starts_with('.') {
        let fix = "write the name alone: letters, digits, hyphens";
        let words = ["is not the name of a credential", fix];
        section.refuse("client_key_credential", found.place, words);
        return None;
    }
    Some(found.value)
}
