//! The `[alarms]` table of `wardpost.toml`: how long something must last before a person is told.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::raw::Section;
use super::values::Found;
use super::{DAY, SHORTEST_WAIT};
use crate::alarms::AlarmTimes;

/// Reads `[alarms]`.
pub(super) fn read(section: &mut Section<'_>) -> AlarmTimes {
    let defaults = AlarmTimes::default();
    let mut time = |key, range, default| {
        let found = section.duration(key, range);
        found.map_or(default, Found::into_value)
    };
    AlarmTimes {
        held: time("held", WAIT, defaults.held),
        device_away: time("device_away", WAIT, defaults.device_away),
        device_silent: time("device_silent", WAIT, defaults.device_silent),
        cloud_away: time("cloud_away", WAIT, defaults.cloud_away),
        certificate: time("certificate", DAY..=MONTH, defaults.certificate),
        calm: time("calm", WAIT, defaults.calm),
    }
}

const WAIT: RangeInclusive<Duration> = SHORTEST_WAIT..=WEEK;
const WEEK: Duration = Duration::from_hours(7 * 24);
/// So long before its end the first is said of a certificate.
const MONTH: Duration = Duration::from_hours(30 * 24);
