//! Which certificates the configuration names, for the watch over their ends.

use crate::config::{Config, DeviceConfig};
use crate::tls::watch::{Role, Watched};
use crate::tls::{Identity, Pin, Trust, Watch};

/// Watches the certificates that this configuration names, instead of those before.
pub fn follow(watch: &Watch, config: &Config) {
    let way = &config.cloud.way;
    let mut files = named(None, way.trust.file(), way.identity.as_ref());
    files.extend(config.devices.iter().flat_map(of_device));
    let devices: Vec<&str> = config.devices.iter().map(|d| d.name.as_str()).collect();
    watch.follow(files, &devices);
}

fn of_device(device: &DeviceConfig) -> Vec<Watched> {
    let Some(tls) = &device.tls else {
        return Vec::new();
    };
    let trust = tls.proof.trust().and_then(Trust::file);
    let mut files = named(Some(&device.name), trust, tls.identity.as_ref());
    files.extend(tls.proof.pins().iter().filter_map(|pin| match pin {
        Pin::Print(_) => None,
        Pin::File(file) => Some(Watched {
            file: file.clone(),
            role: Role::Pinned,
            device: Some(device.name.clone()),
        }),
    }));
    files
}

fn named(
    device: Option<&str>,
    trust: Option<&std::path::Path>,
    identity: Option<&Identity>,
) -> Vec<Watched> {
    let trusted = trust.map(|file| (file, Role::Trusted));
    let ours = identity.map(|identity| (identity.certificate.as_path(), Role::Client));
    let watched = |(file, role): (&std::path::Path, Role)| Watched {
        file: file.to_owned(),
        role,
        device: device.map(str::to_owned),
    };
    trusted.into_iter().chain(ours).map(watched).collect()
}
