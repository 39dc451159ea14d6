//! The keys of `[cloud]` that say how it is reached: trust, client certificate, proxy. Certificates have the same keys in
//! `[tls]` of a device.

use std::path::{Path, PathBuf};

use super::raw::Section;
use super::values::Found;
use crate::cloud::dial::{BadProxy, CREDENTIAL, Proxy, ProxyRule, WayOut};
use crate::secret::Secret;
use crate::tls::{Identity, Trust};

/// Reads them; paths start at `folder`.
pub(super) fn read(section: &mut Section<'_>, folder: &Path) -> WayOut {
    section.forbid("client_key", KEY_IN_FILE);
    section.forbid("proxy_password", PASSWORD_IN_FILE);
    let proxy = read_proxy(section);
    let password = section.peek("proxy_password_file").map(|(_, place)| place);
    let password_file = read_file(section, "proxy_password_file", folder);
    if let (Some(place), ProxyRule::Through(Proxy { user: None, .. })) = (password, &proxy) {
        let words = [
            "a password alone says nothing to a proxy",
            "write the user into proxy, like \"http://USER@HOST:PORT\"",
        ];
        section.warn("proxy_password_file", place, words);
    }
    WayOut {
        trust: read_trust(section, folder).unwrap_or_default(),
        identity: read_identity(section, folder, Secret::Credential(CLIENT_KEY.into())),
        proxy,
        proxy_password: password_file
            .map_or_else(|| Secret::Credential(CREDENTIAL.into()), Secret::File),
    }
}

fn read_proxy(section: &mut Section<'_>) -> ProxyRule {
    let Some(found) = section.text("proxy") else {
        return ProxyRule::Environment;
    };
    if found.value == "none" {
        return ProxyRule::None;
    }
    match Proxy::parse(&found.value) {
        Ok((_, Some(_))) => {
            section.refuse("proxy", found.place, PASSWORD_IN_FILE);
            ProxyRule::None
        }
        Ok((proxy, None)) => ProxyRule::Through(proxy),
        Err(why) => {
            let fix = match why {
                BadProxy::Kind => "write http://, https:// or socks5:// before it",
                BadProxy::Unreadable | BadProxy::Path => {
                    "write it like \"http://proxy.example:3128\", or \"none\""
                }
            };
            section.refuse("proxy", found.place, [&why.to_string(), fix]);
            ProxyRule::None
        }
    }
}

/// `client_certificate` and its key; the key is `elsewhere` if no file is named.
pub(super) fn read_identity(
    section: &mut Section<'_>,
    folder: &Path,
    elsewhere: Secret,
) -> Option<Identity> {
    let certificate = read_file(section, "client_certificate", folder);
    let written = section.peek("client_key_file").map(|(_, place)| place);
    let key = read_file(section, "client_key_file", folder);
    if certificate.is_none() && key.is_some() && !section.is_damaged() {
        let place = written.unwrap_or(section.place);
        let words = [
            "a key is of no use without its certificate",
            "name the certificate in client_certificate",
        ];
        section.refuse("client_key_file", place, words);
    }
    Some(Identity {
        certificate: certificate?,
        key: key.map_or(elsewhere, Secret::File),
    })
}

/// `trust`: `system`, `system+FILE` or `FILE`.
pub(super) fn read_trust(section: &mut Section<'_>, folder: &Path) -> Option<Trust> {
    let found = section.text("trust")?;
    let (with_system, file) = match found.value.strip_prefix("system") {
        Some("") => return Some(Trust::System),
        Some(more) if more.starts_with('+') => (true, more.trim_start_matches('+')),
        _ => (false, found.value.as_str()),
    };
    if file.is_empty() {
        let fix = "write \"system+/etc/wardpost/site-ca.pem\"";
        section.refuse("trust", found.place, ["names no file after system+", fix]);
        return Some(Trust::System);
    }
    let path = check_file(section, "trust", folder.join(file), &found);
    Some(if with_system {
        Trust::SystemAnd(path)
    } else {
        Trust::Only(path)
    })
}

pub(super) fn read_file(
    section: &mut Section<'_>,
    key: &'static str,
    folder: &Path,
) -> Option<PathBuf> {
    let found = section.text(key)?;
    Some(check_file(section, key, folder.join(&found.value), &found))
}

/// Warns of a file that is not there: the agent may be configured before its secret arrives.
pub(super) fn check_file(
    section: &mut Section<'_>,
    key: &str,
    path: PathBuf,
    found: &Found<String>,
) -> PathBuf {
    if !path.is_file() {
        section.warn(
            key,
            found.place,
            ["the file cannot be found", "create it, or correct the path"],
        );
    }
    path
}

/// Name of the systemd credential with the key of the client certificate.
pub(super) const CLIENT_KEY: &str = "client-key";
pub(super) const KEY_IN_FILE: [&str; 2] = [
    "a private key must not stand in this file",
    "remove it here, make a new one, and give it as the systemd credential client-key, or in a file that client_key_file names",
];
const PASSWORD_IN_FILE: [&str; 2] = [
    "a password must not stand in this file",
    "remove it here, change it at the proxy, and give the new one as the systemd credential proxy-password, or in a file that proxy_password_file names",
];
