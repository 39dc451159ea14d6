//! `wardpost.toml`: from keys to settings, and everything that is wrong with them.

use std::path::Path;
use std::time::Duration;

use agent_core::route::{Network, Unmapped};
use tracing::Level;

use super::delivery::Delivery;
use super::notes::Notes;
use super::raw::{Document, Section};
use super::values::Found;
use super::{Cloud, DAY, HOUR, Limits, MOST_QUEUED, Retention, alarms, cloud};
use crate::alarms::AlarmTimes;

/// All of `wardpost.toml`, as far as it could be read.
pub(super) struct Settings {
    /// `None` if the agent could not reach a cloud with what is written.
    pub(super) cloud: Option<Cloud>,
    pub(super) unmapped: Unmapped,
    pub(super) delivery: Delivery,
    pub(super) limits: Limits,
    pub(super) alarms: AlarmTimes,
    pub(super) retention: Retention,
    pub(super) level: Level,
}

/// Reads `wardpost.toml`.
pub(super) fn read(file: &Path, text: &str) -> (Settings, Notes) {
    let folder = file.parent().unwrap_or(Path::new(""));
    Document::new(file, text).read(|top| Settings {
        cloud: top.table("cloud", |section| cloud::read(section, folder)),
        unmapped: top.table("map", read_map),
        delivery: top.table("delivery", Delivery::read),
        limits: top.table("limits", read_limits),
        alarms: top.table("alarms", alarms::read),
        retention: top.table("retention", read_retention),
        level: top.table("log", read_level),
    })
}

fn read_map(section: &mut Section<'_>) -> Unmapped {
    let allows = section.one_of("unmapped", &[("refuse", false), ("allow", true)]);
    let networks = section
        .texts("allow_networks")
        .map(|found| check_networks(section, found));
    match allows {
        Some(Found { value: true, place }) => {
            if networks.as_ref().is_some_and(Vec::is_empty) {
                let fix = "add networks, or write \"refuse\"";
                section.warn(
                    "unmapped",
                    place,
                    ["allows nothing while allow_networks is empty", fix],
                );
            }
            Unmapped::Allow(networks.unwrap_or_else(private_networks))
        }
        Some(Found { value: false, .. }) | None => Unmapped::Refuse,
    }
}

fn check_networks(section: &mut Section<'_>, found: Vec<Found<String>>) -> Vec<Network> {
    let mut networks = Vec::new();
    for Found { value, place } in found {
        match value.parse::<Network>() {
            Ok(network) => {
                if !network.is_private() {
                    let fix = "name only the networks that devices are in";
                    section.warn(
                        "allow_networks",
                        place,
                        ["one of these is not a private network", fix],
                    );
                }
                networks.push(network);
            }
            Err(error) => section.refuse(
                "allow_networks",
                place,
                ["one of these is wrong", &error.to_string()],
            ),
        }
    }
    networks
}

fn private_networks() -> Vec<Network> {
    PRIVATE_NETWORKS
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect()
}

fn read_limits(section: &mut Section<'_>) -> Limits {
    let defaults = Limits::default();
    let max_push_bytes = section.count("max_push_bytes", 1024..=super::MOST_BYTES);
    let max_queued = section.count("max_queued", 1..=MOST_QUEUED);
    let max_queued_total = section.count("max_queued_total", 1..=MOST_QUEUED);
    let max_devices = section.count("max_devices", 1..=super::MOST_DEVICES);
    let max_uploads = section.count("max_uploads", 1000..=MOST_QUEUED);
    let disk = read_disk(section);
    let value =
        |found: &Option<Found<usize>>, default| found.as_ref().map_or(default, |found| found.value);
    let limits = Limits {
        max_push_bytes: value(&max_push_bytes, defaults.max_push_bytes),
        max_queued: value(&max_queued, defaults.max_queued),
        max_queued_total: value(&max_queued_total, defaults.max_queued_total),
        max_devices: value(&max_devices, defaults.max_devices),
        max_uploads: value(&max_uploads, defaults.max_uploads),
        ..disk
    };
    if let Some(found) = max_queued.filter(|_| limits.max_queued > limits.max_queued_total) {
        let words = [
            "is more than max_queued_total, which comes first",
            "raise max_queued_total, or lower this",
        ];
        section.warn("max_queued", found.place, words);
    }
    limits
}

/// The limits that keep the disk from filling up.
fn read_disk(section: &mut Section<'_>) -> Limits {
    let defaults = Limits::default();
    let max_disk = section.count("max_disk", LEAST_DISK..=MOST_DISK);
    let min_free = section.count("min_free", LEAST_FREE..=MOST_DISK);
    let reserve = section.count("reserve", LEAST_FREE..=MOST_RESERVE);
    Limits {
        max_disk: max_disk.map_or(defaults.max_disk, Found::into_value),
        min_free: min_free.map_or(defaults.min_free, Found::into_value),
        reserve: reserve.map_or(defaults.reserve, Found::into_value),
        ..defaults
    }
}

fn read_retention(section: &mut Section<'_>) -> Retention {
    let bodies = section.duration("bodies", HOUR..=LONGEST_KEPT);
    let rows = section.duration("rows", HOUR..=LONGEST_KEPT);
    let place = rows.as_ref().or(bodies.as_ref()).map(|found| found.place);
    let retention = Retention {
        bodies: bodies.map_or(7 * DAY, Found::into_value),
        rows: rows.map_or(90 * DAY, Found::into_value),
    };
    if let Some(place) = place.filter(|_| retention.rows < retention.bodies) {
        section.refuse(
            "rows",
            place,
            [
                "rows must be kept at least as long as bodies",
                "raise rows, or lower bodies",
            ],
        );
    }
    retention
}

fn read_level(section: &mut Section<'_>) -> Level {
    let words = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    section
        .one_of("level", &words)
        .map_or(Level::INFO, Found::into_value)
}

const PRIVATE_NETWORKS: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"];
const LONGEST_KEPT: Duration = Duration::from_hours(3650 * 24);
/// A database with less has no room for its own tables and one large push.
const LEAST_DISK: usize = 16 << 20;
const MOST_DISK: usize = 1 << 40;
const LEAST_FREE: usize = 1 << 20;
const MOST_RESERVE: usize = 1 << 30;
