//! The `[transport]` table of a device file.

use agent_core::route::HostPort;

use super::raw::Section;
use super::values::Found;
use super::{HOUR, Lifetime, MINUTE, SECOND, SHORTEST_WAIT, Timing};

/// How a device is reached.
pub(super) struct Transport {
    pub(super) connect: Option<Found<HostPort>>,
    pub(super) timing: Timing,
    pub(super) lifetime: Lifetime,
}

/// Reads `[transport]`.
pub(super) fn read(section: &mut Section<'_>) -> Transport {
    read_kind(section);
    let connect = read_connect(section);
    let timing = read_timing(section);
    let lifetimes = [
        ("persistent", Lifetime::Persistent),
        ("per-message", Lifetime::PerMessage),
    ];
    let lifetime = section.one_of("connection", &lifetimes);
    Transport {
        connect,
        timing,
        lifetime: lifetime.map_or(Lifetime::Persistent, Found::into_value),
    }
}

fn read_kind(section: &mut Section<'_>) {
    let kinds = [
        ("dial", true),
        ("serial", false),
        ("listen", false),
        ("rfc2217", false),
    ];
    if let Some(Found {
        value: false,
        place,
    }) = section.one_of("kind", &kinds)
    {
        section.refuse(
            "kind",
            place,
            ["this version can only dial", "write \"dial\""],
        );
    }
}

fn read_connect(section: &mut Section<'_>) -> Option<Found<HostPort>> {
    let found = section.text("connect")?;
    let Ok(value) = found.value.parse::<HostPort>() else {
        let fix = "write host and port, for example \"10.0.0.7:2575\" or \"[fd00::7]:2575\"";
        section.refuse("connect", found.place, ["is not a place to dial", fix]);
        return None;
    };
    Some(Found {
        value,
        place: found.place,
    })
}

fn read_timing(section: &mut Section<'_>) -> Timing {
    let defaults = Timing::default();
    let reconnect_min = section.duration("reconnect_min", SHORTEST_WAIT..=10 * MINUTE);
    let reconnect_max = section.duration("reconnect_max", SHORTEST_WAIT..=HOUR);
    let keepalive = section.duration("keepalive", SECOND..=2 * HOUR);
    let connect_timeout = section.duration("connect_timeout", SHORTEST_WAIT..=5 * MINUTE);
    let place = reconnect_min
        .as_ref()
        .or(reconnect_max.as_ref())
        .map(|found| found.place);
    let timing = Timing {
        reconnect_min: reconnect_min.map_or(defaults.reconnect_min, Found::into_value),
        reconnect_max: reconnect_max.map_or(defaults.reconnect_max, Found::into_value),
        keepalive: keepalive.map_or(defaults.keepalive, Found::into_value),
        connect_timeout: connect_timeout.map_or(defaults.connect_timeout, Found::into_value),
    };
    if let Some(place) = place.filter(|_| timing.reconnect_min > timing.reconnect_max) {
        let words = [
            "must not be longer than reconnect_max",
            "lower it, or raise reconnect_max",
        ];
        section.refuse("reconnect_min", place, words);
    }
    timing
}
