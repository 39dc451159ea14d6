//! Where the cloud is and who we are to it, as plain values that can be compared: a reload ends the session only if they
//! differ.
//!
//! A path says too little: the file behind it may hold another secret or another certificate now. So the settings carry
//! a digest of each file that they name, as it was when the configuration was read.

use std::fs;
use std::path::Path;

use sha2::{Digest, Sha256};
use url::Url;

use super::dial::{Dialler, WayOut};
use super::token::Credentials;
use super::{mailbox, told};
use crate::config::Config;
use crate::tls::Watch;

/// Where the cloud is and who we are to it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's base.
    pub url: Url,
    /// `Agent.id`.
    pub agent: String,
    pub credentials: Credentials,
    /// How it is reached: proxy, trust, and who we are in TLS.
    pub way: WayOut,
    /// Told when the cloud's certificate will be over.
    pub watch: Watch,
    /// The largest incoming message in bytes; a larger one ends the session. Room for the largest push, escaped as JSON.
    pub largest_message: usize,
    pub mailbox: mailbox::Rules,
    /// Of the files that are named here.
    pub contents: Vec<Content>,
}

/// What a file held, or why it cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    pub what: &'static str,
    pub found: Result<[u8; 32], String>,
}

impl Settings {
    /// What the configuration says. Reads the files that it names; one that cannot be used is noted, and tried again
    /// when it is needed.
    pub fn read(config: &Config, watch: &Watch) -> Self {
        let cloud = &config.cloud;
        let mut settings = Self {
            url: cloud.url.clone(),
            agent: cloud.agent.clone(),
            credentials: Credentials {
                client: cloud.client.clone(),
                secret: cloud.secret(),
            },
            way: cloud.way.clone(),
            watch: watch.clone(),
            // A body escaped as JSON can be six times as long; the rest of the envelope is small. One above the limit
            // is still read, so that it can be refused with a sentence instead of a broken session.
            largest_message: config.limits.max_push_bytes.saturating_mul(6) + ENVELOPE,
            mailbox: cloud.mailbox,
            contents: Vec::new(),
        };
        settings.contents = settings.look();
        settings
    }

    /// Whether a session by the other settings would be another one. The largest message is no reason: the next session
    /// takes it.
    pub fn is_other_session(&self, other: &Self) -> bool {
        let Self {
            url,
            agent,
            credentials,
            way,
            watch: _,
            largest_message: _,
            mailbox: _,
            contents,
        } = self;
        (url, agent, credentials) != (&other.url, &other.agent, &other.credentials)
            || (way, contents) != (&other.way, &other.contents)
    }

    pub fn dialler(&self) -> Dialler {
        Dialler::watched_by(self.way.clone(), &self.watch)
    }

    /// What could be used before and cannot be used now, in words: a reload must not change to that.
    pub fn faults_since(&self, before: &Self) -> Vec<String> {
        let fault = |content: &Content| {
            let known = before.contents.contains(content);
            content.found.clone().err().filter(|_| !known)
        };
        self.contents.iter().filter_map(fault).collect()
    }

    /// What cannot be used now, in words.
    pub fn faults(&self) -> Vec<String> {
        let faults = self.contents.iter();
        faults
            .filter_map(|content| content.found.clone().err())
            .collect()
    }

    fn look(&self) -> Vec<Content> {
        let WayOut {
            trust,
            identity,
            proxy: _,
            proxy_password,
        } = &self.way;
        let mut contents = vec![Content {
            what: SECRET,
            found: self
                .credentials
                .read()
                .map(|login| login.digest())
                .map_err(words),
        }];
        if let Some(path) = trust.file() {
            let checked = trust.check().map_err(words);
            contents.push(Content {
                what: TRUST,
                found: checked.and_then(|()| digest_of(path)),
            });
        }
        if let Some(identity) = identity {
            let checked = identity.check().map_err(words);
            let key = || {
                identity
                    .key
                    .path()
                    .map_or(Ok([0; 32]), |path| digest_of(&path))
            };
            contents.push(Content {
                what: CERTIFICATE,
                found: checked.and_then(|()| {
                    let both = [digest_of(&identity.certificate)?, key()?];
                    Ok(digest(both.as_flattened()))
                }),
            });
        }
        // Most proxies want none.
        if let Some(found) = proxy_password.path().and_then(|path| digest_of(&path).ok()) {
            contents.push(Content {
                what: PROXY_PASSWORD,
                found: Ok(found),
            });
        }
        contents
    }
}

fn words(fault: impl std::error::Error) -> String {
    told(&fault)
}

fn digest_of(path: &Path) -> Result<[u8; 32], String> {
    fs::read(path)
        .map(|bytes| digest(&bytes))
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}

pub(super) fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What [`Content::what`] says.
pub const SECRET: &str = "client secret";
pub const TRUST: &str = "trusted certificates";
pub const CERTIFICATE: &str = "client certificate";
pub const PROXY_PASSWORD: &str = "proxy password";
const ENVELOPE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn settings(folder: &Path) -> Settings {
        let file = folder.join("wardpost.toml");
        let text = "[cloud]\nurl = \"https://c.example/\"\nagent = \"a\"\nclient = \"c\"\n\
                    client_secret_file = \"secret\"\n";
        fs::write(&file, text).unwrap();
        let loaded = config::load(&config::Paths::new(file, None)).unwrap();
        Settings::read(&loaded.config, &Watch::default())
    }

    #[test]
    fn a_file_with_other_contents_is_another_session_and_a_larger_message_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("secret"), "s3cret-1").unwrap();
        let before = settings(folder.path());
        fs::write(folder.path().join("secret"), "s3cret-1\n").unwrap();
        assert!(!settings(folder.path()).is_other_session(&before));
        fs::write(folder.path().join("secret"), "s3cret-2").unwrap();
        assert!(settings(folder.path()).is_other_session(&before));
        let larger = Settings {
            largest_message: 1,
            ..before.clone()
        };
        assert!(!larger.is_other_session(&before));
        let elsewhere = Settings {
            agent: "b".into(),
            ..before.clone()
        };
        assert!(elsewhere.is_other_session(&before));
        assert!(!format!("{before:?}").contains("s3cret-1"));
    }

    #[test]
    fn what_was_missing_before_is_no_new_fault() {
        let folder = tempfile::tempdir().unwrap();
        let missing = settings(folder.path());
        assert_eq!(missing.faults().len(), 1);
        assert!(settings(folder.path()).faults_since(&missing).is_empty());
        fs::write(folder.path().join("secret"), "s3cret-1").unwrap();
        let there = settings(folder.path());
        assert!(there.faults().is_empty());
        let gone = missing.faults_since(&there);
        assert!(
            gone[0].starts_with("there is no secret for the client c"),
            "{gone:?}"
        );
    }
}
