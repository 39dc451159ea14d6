//! When a certificate ends, and how near that is.

use std::fmt;
use std::path::Path;

use agent_core::push::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::trust::certificates;
use crate::clock;

/// How near the end is, in the steps at which it is told again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Near {
    Month,
    Fortnight,
    Week,
    Day,
    Over,
}

impl Near {
    /// `None` while there is nothing to say.
    pub(super) fn of(end: Timestamp, now: Timestamp) -> Option<Self> {
        let left = end.0.saturating_sub(now.0);
        let within = |days: i64| left <= days * DAY_MS;
        Some(match left {
            ..=0 => Self::Over,
            _ if within(1) => Self::Day,
            _ if within(7) => Self::Week,
            _ if within(14) => Self::Fortnight,
            _ if within(30) => Self::Month,
            _ => return None,
        })
    }
}

/// The time that is left, as the middle of a sentence.
pub(super) struct Left {
    pub(super) end: Timestamp,
    pub(super) now: Timestamp,
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = clock::rfc3339(self.end);
        let left = self.end.0.saturating_sub(self.now.0);
        let days = left.max(0) / DAY_MS;
        match days {
            _ if left <= 0 => write!(f, "ended at {date}, unless the clock of this box is wrong"),
            0 => write!(f, "ends within a day, at {date}"),
            1 => write!(f, "ends in 1 day, at {date}"),
            _ => write!(f, "ends in {days} days, at {date}"),
        }
    }
}

/// The end of one certificate; `None` if it cannot be read, which is said when it is used.
pub(super) fn end_of(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let seconds = certificate.validity().not_after.timestamp();
    Some(Timestamp(seconds.saturating_mul(1000)))
}

/// The earliest end in a PEM file. A file that cannot be read has none; that is said when it is used.
pub(super) fn earliest_in(path: &Path) -> Option<Timestamp> {
    let all = certificates(path).ok()?;
    all.iter().filter_map(end_of).min()
}

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
