//! The certificates and keys that device files name: a reload must not change to one that cannot be used.
//!
//! The files may have been bad before, and the devices away for it. That is no reason to refuse what corrects something else.

use crate::config::{Config, DeviceConfig};
use crate::tls::told;

/// A certificate or key of a device that cannot be used now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    device: String,
    words: String,
}

/// Reads the files.
pub fn faults(config: &Config) -> Vec<Fault> {
    config.devices.iter().flat_map(of_device).collect()
}

/// Those that were not there before, in words.
pub(super) fn new(now: &[Fault], before: &[Fault]) -> Vec<String> {
    let new = now.iter().filter(|fault| !before.contains(fault));
    new.map(|fault| format!("device {}: {}", fault.device, fault.words))
        .collect()
}

fn of_device(device: &DeviceConfig) -> Vec<Fault> {
    let Some(tls) = &device.tls else {
        return Vec::new();
    };
    let proof = tls.proof.check().err().map(|error| told(&error));
    let identity = tls.identity.as_ref();
    let identity = identity.and_then(|identity| Some(told(&identity.check().err()?)));
    let fault = |words| Fault {
        device: device.name.clone(),
        words,
    };
    proof.into_iter().chain(identity).map(fault).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{Paths, reload};
    use crate::tls::authority::Authority;

    #[test]
    fn a_certificate_that_can_not_be_used_any_more_is_new_and_one_that_never_could_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("wardpost.toml"), None);
        fs::create_dir(&paths.devices).unwrap();
        let cloud = "[cloud]\nurl = \"https://c.example/\"\nagent = \"a\"\nclient = \"c\"\n";
        fs::write(&paths.config, cloud).unwrap();
        let device = |name: &str, port: u16| {
            let text = format!(
                "name = \"{name}\"\nurl = \"mllps://10.0.0.7:{port}\"\n[tls]\ntrust = \"{name}.pem\"\n"
            );
            fs::write(paths.devices.join(format!("{name}.toml")), text).unwrap();
        };
        device("chem", 1);
        device("coag", 2);
        let good = paths.devices.join("chem.pem");
        fs::write(&good, Authority::new().pem).unwrap();
        let look = || faults(&reload(&paths).unwrap().config);
        let before = look();
        assert_eq!(before.len(), 1, "{before:?}");
        fs::write(&good, "no certificate").unwrap();
        let found = new(&look(), &before);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("device chem: "), "{found:?}");
    }
}
