//! What a bench consists of, and the files that say so.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::sim::{Kind, Script, always};

/// Keys of a TOML file as `section.key`, with values as TOML text.
#[derive(Clone, Debug, Default)]
pub struct Keys(BTreeMap<String, BTreeMap<String, String>>);

impl Keys {
    pub fn set(&mut self, key: &str, value: &str) {
        let (section, key) = key.split_once('.').unwrap_or(("", key));
        self.0
            .entry(section.into())
            .or_default()
            .insert(key.into(), value.into());
    }

    /// The file. Keys without a section come first, as TOML wants it.
    pub fn toml(&self) -> String {
        let mut text = String::new();
        for (section, keys) in &self.0 {
            if !section.is_empty() {
                let _ = writeln!(text, "[{section}]");
            }
            for (key, value) in keys {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text
    }
}

/// One simulated device and its file in `devices.d`.
#[derive(Clone)]
pub struct DeviceSetup {
    pub(super) name: String,
    pub(super) script: Script,
    keys: Keys,
    scheme: &'static str,
}

impl std::fmt::Debug for DeviceSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceSetup")
            .field("name", &self.name)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl DeviceSetup {
    /// An HL7 device that says AA at once, with waits short enough for a test.
    pub fn new(name: &str) -> Self {
        let mut keys = Keys::default();
        keys.set("name", &quoted(name));
        keys.set("transport.kind", "\"dial\"");
        keys.set("transport.reconnect_min", "\"20ms\"");
        keys.set("transport.reconnect_max", "\"100ms\"");
        Self {
            name: name.into(),
            script: always(Kind::Aa),
            keys,
            scheme: "mllp",
        }
    }

    /// Its url says mllps. What it speaks is up to [`crate::sim::Device::speak_tls`].
    #[must_use]
    pub fn secure(self) -> Self {
        Self {
            scheme: "mllps",
            ..self
        }
    }

    /// What the cloud calls it, if it is at this address.
    pub(super) fn url(&self, at: SocketAddr) -> String {
        format!("{}://{at}", self.scheme)
    }

    /// What the simulated device does.
    #[must_use]
    pub fn doing(self, script: Script) -> Self {
        Self { script, ..self }
    }

    /// Sets a key of the device file; the value is TOML text.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.keys.set(key, value);
        self
    }

    /// Sets a key of the device file to a string.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.set(key, &quoted(value))
    }

    /// Writes `devices.d/NAME.toml` for a device at this address.
    pub fn write(&self, folder: &Path, at: SocketAddr) -> std::io::Result<()> {
        let mut keys = self.keys.clone();
        keys.set("url", &quoted(&self.url(at)));
        std::fs::write(folder.join(format!("{}.toml", self.name)), keys.toml())
    }
}

/// What the cloud calls a device at this address.
pub fn url(at: SocketAddr) -> String {
    format!("mllp://{at}")
}

pub(super) fn quoted(text: &str) -> String {
    // JSON's escapes are a part of TOML's.
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_a_section_come_first() {
        let mut keys = Keys::default();
        keys.set("delivery.answer_within", "\"300ms\"");
        keys.set("name", "\"chem\"");
        keys.set("delivery.paused", "true");
        let expected = "name = \"chem\"\n[delivery]\nanswer_within = \"300ms\"\npaused = true\n";
        assert_eq!(keys.toml(), expected);
    }

    #[test]
    fn a_device_file_names_the_address() {
        let folder = tempfile::tempdir().unwrap();
        DeviceSetup::new("chem")
            .write(folder.path(), ([127, 0, 0, 1], 2575).into())
            .unwrap();
        let text = std::fs::read_to_string(folder.path().join("chem.toml")).unwrap();
        assert!(text.contains("url = \"mllp://127.0.0.1:2575\"\n"), "{text}");
        assert!(text.contains("[transport]\nkind = \"dial\"\n"), "{text}");
    }
}
