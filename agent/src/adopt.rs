//! Devices without a file, where the site allows them: taken in when the first push names one.

use std::collections::HashMap;
use std::path::PathBuf;

use agent_core::push::DeviceNo;
use agent_core::route::Remote;
use tracing::info;

use crate::config::DeviceConfig;
use crate::line::LineConfig;
use crate::lines::RunningLines;
use crate::site::{Devices, Site, unmapped};
use crate::store::StoreError;

/// Takes in devices that have no file, where the site allows it.
#[derive(Clone, Debug)]
pub struct Adopter {
    pub site: Site,
    pub lines: RunningLines,
}

impl Adopter {
    /// The device for an address that no file maps: known from before, or new.
    ///
    /// Called by the uplink alone, one push after the other, so that two pushes for one new device find one device.
    pub async fn adopt(&self, remote: Remote) -> Result<DeviceNo, AdoptError> {
        let name = remote.to_string();
        let _alone = self.site.changing().await;
        let devices = self.site.devices();
        let rules = devices.rules();
        if let Some(no) = devices.by_name(&name) {
            return Ok(no);
        }
        if let Some(file) = devices.file_without_address() {
            return Err(AdoptError::Unread(file.to_owned()));
        }
        if devices.iter().count() >= rules.max_devices {
            return Err(AdoptError::TooMany(rules.max_devices));
        }
        let config = unmapped(remote, &rules.unmapped_policy).ok_or(AdoptError::Address)?;
        let no = self.lines.store().number(name.clone()).await?;
        let mut all: HashMap<DeviceNo, DeviceConfig> = devices
            .iter()
            .map(|(no, device)| (no, device.config.clone()))
            .collect();
        all.insert(no, config.clone());
        let next = Devices::new(all, rules.clone()).map_err(|_| AdoptError::Address)?;
        self.lines.store().configure(next.for_store(None)).await?;
        self.site.replace(next);
        self.lines.wish(no, Some(LineConfig::of(no, &config)));
        info!(device = %name, "a push names a device without a file; it is taken in, as [map] allows");
        Ok(no)
    }
}

/// Why a device without a file was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    #[error("there are {0} devices already, which is the limit; map devices by file")]
    TooMany(usize),
    #[error("the address cannot be used without a file")]
    Address,
    #[error(
        "{} cannot be used and may be about this address, so no device without a file is taken in; see `wardpost check`",
        _0.display()
    )]
    Unread(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use agent_core::route::{Network, Route, Scheme, Unmapped};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::config::Broken;
    use crate::dispatch::Dispatch;
    use crate::lines::LineNeeds;
    use crate::site::Rules;
    use crate::store::{Bounds, Opened, Upward, Wiring};
    use crate::supervisor::Supervisor;
    use crate::tls::Watch;

    const ANALYZER: Remote = Remote {
        scheme: Scheme::Mllp,
        host: std::net::IpAddr::V4(Ipv4Addr::new(10, 20, 0, 7)),
        port: 2575,
    };

    fn rules() -> Rules {
        let device = "[cloud]\nurl = \"https://c.example/\"\nagent = \"a\"\nclient = \"c\"\n";
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wardpost.toml");
        std::fs::write(&file, device).unwrap();
        let loaded = crate::config::load(&crate::config::Paths::new(file, None)).unwrap();
        Rules::of(&loaded.config)
    }

    /// Lines are told to stop before they begin, so that nothing is dialled.
    fn adopter(state: &Path, most: usize) -> Adopter {
        adopter_by(state, allowing(most))
    }

    fn allowing(most: usize) -> Rules {
        Rules {
            unmapped: Unmapped::Allow(vec!["10.0.0.0/8".parse::<Network>().unwrap()]),
            max_devices: most,
            ..rules()
        }
    }

    fn adopter_by(state: &Path, rules: Rules) -> Adopter {
        let site = Site::new(Devices::new([], rules).unwrap());
        let dispatch = Dispatch::default();
        let running = Opened::open(state)
            .unwrap()
            .start(Wiring {
                devices: Vec::new(),
                limit: 10,
                bounds: Bounds {
                    max_disk: 1 << 30,
                    min_free: 1 << 20,
                    reserve: 1 << 20,
                },
                upward: Upward {
                    channel: None,
                    agent: "a".into(),
                    limit: 10,
                },
                lines: dispatch.clone(),
                said: mpsc::channel(1).0,
                join_digest: crate::cloud::join_digest,
            })
            .unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let spawner = Supervisor::new(None).lines();
        let lines = RunningLines::new(LineNeeds {
            store: running.store,
            dispatch,
            spawner,
            watch: Watch::default(),
            stop,
        });
        Adopter { site, lines }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_device_without_a_file_is_taken_in_once_and_keeps_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let first = adopter(folder.path(), 10);
        let no = first.adopt(ANALYZER).await.unwrap();
        assert_eq!(first.adopt(ANALYZER).await.unwrap(), no);
        let found = first
            .site
            .devices()
            .resolve("mllp://10.20.0.7:2575?encoding=utf-8");
        assert_eq!(found, Route::Found(no));
        let report = first.lines.store().report().await.unwrap();
        assert_eq!(report.devices[0].name, "mllp://10.20.0.7:2575");
        first.lines.store().stop().await.unwrap();
        let known = Opened::open(folder.path())
            .unwrap()
            .known_devices()
            .unwrap();
        assert_eq!(known, [(no, "mllp://10.20.0.7:2575".to_owned())]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_flood_of_new_addresses_is_refused_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let adopter = adopter(folder.path(), 1);
        adopter.adopt(ANALYZER).await.unwrap();
        let refused = adopter
            .adopt(Remote {
                port: 2576,
                ..ANALYZER
            })
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("map devices by file"),
            "{refused}"
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_taken_in_while_a_file_cannot_be_read_that_may_be_about_it() {
        let folder = tempfile::tempdir().unwrap();
        let unread = Broken {
            file: "/etc/wardpost/devices.d/chem.toml".into(),
            name: None,
            address: None,
            aliases: Vec::new(),
            problems: Vec::new(),
        };
        let rules = Rules {
            broken: vec![unread],
            ..allowing(10)
        };
        let known = [(DeviceNo(7), "mllp://10.20.0.8:2575".to_owned())];
        let devices = Devices::with_known(HashMap::new(), known, rules.clone()).unwrap();
        assert_eq!(devices.iter().count(), 0, "nor what was taken in before");
        let refused = adopter_by(folder.path(), rules)
            .adopt(ANALYZER)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("chem.toml"), "{refused}");
    }

    #[test]
    fn an_alias_of_a_broken_file_belongs_to_its_device() {
        let elsewhere = Broken {
            file: "/etc/wardpost/devices.d/chem.toml".into(),
            name: Some("chem".into()),
            address: Some("mllp://10.20.0.9:2575".parse().unwrap()),
            aliases: vec!["mllp://10.20.0.7:2575".into(), "chemistry".into()],
            problems: Vec::new(),
        };
        let rules = Rules {
            broken: vec![elsewhere],
            ..allowing(10)
        };
        let devices = Devices::new([], rules).unwrap();
        for remote in [
            "mllp://10.20.0.7:2575?encoding=utf-8",
            "mllp://10.20.0.9:2575",
            "device://chem",
            "chemistry",
        ] {
            assert!(devices.broken_file(remote).is_some(), "{remote}");
        }
        assert!(devices.broken_file("mllp://10.20.0.8:2575").is_none());
        assert!(devices.file_without_address().is_none());
    }
}
