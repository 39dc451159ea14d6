//! Watches when certificates end: those in the files of the configuration, and those that others showed us.
//!
//! Each is told about 30, 14, 7 and 1 days before its end and after it, once in the log and as long as it lasts in the
//! status. That it is told is all: what to do about a certificate that is over is decided where it is used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_core::push::Timestamp;
use rustls::pki_types::CertificateDer;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::expiry::{Left, Near, earliest_in, end_of};
use super::fault::Whom;
use crate::clock;

/// A cheap handle on what is watched.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    held: Arc<Mutex<Held>>,
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Held {
    files: Vec<Watched>,
    /// What the others showed last, by who they are.
    shown: BTreeMap<String, Shown>,
    /// What was logged of each certificate.
    logged: BTreeMap<String, Near>,
}

/// A file of the configuration with certificates in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Watched {
    pub file: PathBuf,
    pub role: Role,
    /// `None`: the cloud's.
    pub device: Option<String>,
}

/// What the certificates in a file are for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// Ours.
    Client,
    /// Of authorities whose signatures we trust.
    Trusted,
    /// Of devices, named one by one.
    Pinned,
}

/// A certificate that is near its end, or over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// Which one it is.
    pub which: String,
    /// The whole sentence.
    pub words: String,
    pub end: Timestamp,
}

#[derive(Debug)]
struct Shown {
    whom: Whom,
    name: String,
    end: Timestamp,
}

impl Watch {
    /// Watches these files from now on, and of what was shown only what these devices did.
    pub fn follow(&self, files: Vec<Watched>, devices: &[&str]) {
        let mut held = self.held();
        held.files = files;
        held.shown.retain(|_, shown| match &shown.whom {
            Whom::Device(name) => devices.contains(&name.as_str()),
            Whom::Cloud | Whom::Proxy => true,
        });
        self.news.notify_one();
    }

    /// Somebody showed a certificate.
    pub(super) fn saw(&self, whom: &Whom, name: &str, leaf: Option<&CertificateDer<'_>>) {
        let Some(end) = leaf.and_then(end_of) else {
            return;
        };
        let shown = Shown {
            whom: whom.clone(),
            name: name.to_owned(),
            end,
        };
        let before = self.held().shown.insert(format!("{whom:?}"), shown);
        if before.is_none_or(|before| before.end != end) {
            self.news.notify_one();
        }
    }

    /// Looks at everything now and then, and at once when there is news; `post` gets all that is to be told.
    pub async fn run(self, post: impl Fn(Vec<Ending>), stop: CancellationToken) {
        loop {
            let (held, now) = (self.clone(), clock::utc());
            // Reads files; whoever stops meanwhile needs no list.
            if let Ok(words) = tokio::task::spawn_blocking(move || held.look(now)).await {
                post(words);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.news.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Everything that is to be told, the most urgent first; what is new of it is logged.
    fn look(&self, now: Timestamp) -> Vec<Ending> {
        let files = self.held().files.clone();
        let of_files = files.iter().filter_map(|watched| {
            let end = earliest_in(&watched.file)?;
            Some((end, watched.words(&Left { end, now })))
        });
        let mut ends: Vec<(Timestamp, [String; 2])> = of_files.collect();
        let mut held = self.held();
        ends.extend(held.shown.values().map(|shown| {
            let end = shown.end;
            (end, shown.words(&Left { end, now }))
        }));
        ends.sort_by_key(|(end, _)| *end);
        let mut logged = BTreeMap::new();
        let mut told = Vec::new();
        for (end, [which, words]) in ends {
            let Some(near) = Near::of(end, now) else {
                continue;
            };
            if held.logged.get(&which).is_none_or(|before| *before < near) {
                log(near, &words);
            }
            logged.insert(which.clone(), near);
            told.push(Ending { which, words, end });
        }
        held.logged = logged;
        told
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Which certificate it is, and the whole sentence.
    fn words(&self, left: &Left) -> [String; 2] {
        let file = self.file.display();
        let device = self
            .device
            .as_ref()
            .map(|name| format!(" for device {name}"))
            .unwrap_or_default();
        let (what, todo) = match self.role {
            Role::Client => (
                format!("the client certificate{device} in {file}"),
                "put a renewed one and its key there; no restart is needed",
            ),
            Role::Trusted => (
                format!("a trusted certificate{device} in {file}"),
                "put its successor into the file as well; no restart is needed",
            ),
            Role::Pinned => (
                format!("a pinned certificate{device} in {file}"),
                "put the device's next one into the file as well; no restart is needed",
            ),
        };
        let words = format!("{what} {left}; {todo}");
        [what, words]
    }
}

impl Shown {
    fn words(&self, left: &Left) -> [String; 2] {
        let (what, todo) = match &self.whom {
            Whom::Cloud => (
                format!("the certificate of the cloud's server {}", self.name),
                "whoever runs it must renew it",
            ),
            Whom::Proxy => (
                format!("the certificate of the proxy {}", self.name),
                "whoever runs it must renew it",
            ),
            Whom::Device(device) => (
                format!("the certificate that device {device} shows"),
                "renew it at the device, and in [tls] pin if it is pinned",
            ),
        };
        let words = format!("{what} {left}; {todo}");
        [what, words]
    }
}

fn log(near: Near, words: &str) {
    match near {
        Near::Month | Near::Fortnight | Near::Week => warn!(words, "a certificate is near its end"),
        Near::Day => error!(words, "a certificate is near its end"),
        Near::Over => error!(words, "a certificate is over"),
    }
}

/// Often enough for steps of days.
const LOOK_EVERY: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn sentences(watch: &Watch, now: Timestamp) -> Vec<String> {
        let endings = watch.look(now).into_iter();
        endings.map(|ending| ending.words).collect()
    }

    fn pem(year: i32) -> String {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["chem.lab".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 31);
        params.self_signed(&key).unwrap().pem()
    }

    /// A watch on one file with certificates that end in these years, and the end of the first.
    fn watch(years: &[i32]) -> (Watch, tempfile::NamedTempFile, Timestamp) {
        let file = tempfile::NamedTempFile::new().unwrap();
        let all: String = years.iter().map(|year| pem(*year)).collect();
        std::fs::write(file.path(), all).unwrap();
        let watch = Watch::default();
        let watched = Watched {
            file: file.path().to_owned(),
            role: Role::Client,
            device: None,
        };
        watch.follow(vec![watched], &[]);
        let end = earliest_in(file.path()).unwrap();
        (watch, file, end)
    }

    fn before(end: Timestamp, days: i64) -> Timestamp {
        Timestamp(end.0 - days * DAY)
    }

    #[test]
    fn the_earliest_end_of_a_file_is_told_in_days_and_with_what_to_do() {
        let (watch, file, end) = watch(&[2040, 2031, 2050]);
        assert_eq!(clock::rfc3339(end), "2031-01-31T00:00:00.000Z");
        assert_eq!(sentences(&watch, before(end, 31)), Vec::<String>::new());
        let told = sentences(&watch, before(end, 14)).remove(0);
        assert_eq!(
            told,
            format!(
                "the client certificate in {} ends in 14 days, at 2031-01-31T00:00:00.000Z; \
                 put a renewed one and its key there; no restart is needed",
                file.path().display()
            )
        );
        let told = sentences(&watch, end).remove(0);
        assert!(told.contains("ended at 2031-01-31"), "{told}");
        std::fs::write(file.path(), pem(2050)).unwrap();
        assert_eq!(sentences(&watch, end), Vec::<String>::new());
    }

    #[test]
    fn each_step_towards_the_end_is_logged_once() {
        let (watch, _file, end) = watch(&[2031]);
        let mut logged = Vec::new();
        for days in [40, 30, 29, 14, 13, 7, 2, 1, 0, -1] {
            let before_look = watch.held().logged.values().max().copied();
            sentences(&watch, before(end, days));
            let after = watch.held().logged.values().max().copied();
            if after != before_look {
                logged.push(days);
            }
        }
        assert_eq!(logged, [30, 14, 7, 1, 0]);
    }

    #[test]
    fn what_a_device_showed_is_told_until_it_shows_another_or_is_gone() {
        let (watch, _file, end) = watch(&[2090]);
        let now = Timestamp(1_900_000_000_000);
        let whom = Whom::Device("chem".into());
        let show = |year| {
            let der = rustls::pki_types::pem::PemObject::from_pem_slice(pem(year).as_bytes());
            watch.saw(&whom, "chem.lab", der.ok().as_ref());
        };
        show(2030);
        let told = sentences(&watch, now);
        assert!(
            told[0].starts_with("the certificate that device chem shows ended at"),
            "{told:?}"
        );
        show(2080);
        assert_eq!(sentences(&watch, now), Vec::<String>::new());
        show(2030);
        watch.follow(Vec::new(), &["other"]);
        assert_eq!(sentences(&watch, now), Vec::<String>::new());
        assert!(end > now);
    }
}
