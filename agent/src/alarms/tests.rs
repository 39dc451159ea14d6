//! What one look finds wrong.

use agent_core::clock::Doubt;
use agent_core::push::PushId;

use super::*;

const NOW: Timestamp = Timestamp(1_900_000_000_000);
const HOUR: i64 = 60 * 60 * 1000;

fn well(name: &str) -> DeviceReport {
    DeviceReport {
        no: DeviceNo(1),
        name: name.into(),
        line: Line::Ready,
        condition: None,
        waiting: 0,
        held: 0,
        uncertain: 0,
        answered: 7,
        sending: None,
    }
}

fn facts(device: DeviceReport) -> Facts {
    Facts {
        report: QueueReport {
            devices: vec![device],
            ..QueueReport::default()
        },
        answered: HashMap::from([(DeviceNo(1), 7)]),
        dead: Vec::new(),
        room: Room {
            file: 1,
            reserve: 1,
            ..Room::default()
        },
        clock: Clock::Sound,
        uplink: None,
        endings: Vec::new(),
        certificate: Duration::from_hours(14 * 24),
        now: NOW,
    }
}

fn found(facts: &Facts) -> Vec<String> {
    let seen = facts.sightings().into_iter();
    seen.map(|one| {
        format!("{} {}", one.name.kind.word(), one.name.subject)
            .trim()
            .to_owned()
    })
    .collect()
}

fn of(change: impl FnOnce(&mut DeviceReport)) -> Vec<String> {
    let mut device = well("chem");
    change(&mut device);
    found(&facts(device))
}

#[test]
fn an_agent_that_is_well_has_nothing_to_say() {
    assert!(of(|_| ()).is_empty());
    assert!(
        of(|device| device.held = 1).is_empty(),
        "a person keeps it back, and knows"
    );
}

#[test]
fn uncertain_pushes_and_a_device_that_is_away_are_seen() {
    assert_eq!(of(|device| device.uncertain = 2), ["held chem"]);
    let away = Line::Away("refused".into());
    assert_eq!(
        of(|device| device.line = away.clone()),
        ["device-away chem"]
    );
    let off = |device: &mut DeviceReport| {
        device.line = away;
        device.condition = Some(Reason::DeviceOff);
    };
    assert!(of(off).is_empty(), "nobody wants it");
}

#[test]
fn a_device_is_silent_while_it_has_work_and_answers_nothing() {
    assert_eq!(of(|device| device.waiting = 3), ["device-silent chem"]);
    assert_eq!(
        of(|device| device.sending = Some(PushId(4))),
        ["device-silent chem"]
    );
    let answers = |device: &mut DeviceReport| {
        device.waiting = 3;
        device.answered = 8;
    };
    assert!(of(answers).is_empty());
    let paused = |device: &mut DeviceReport| {
        device.waiting = 3;
        device.condition = Some(Reason::Paused);
    };
    assert!(of(paused).is_empty());
    let parked = |device: &mut DeviceReport| {
        device.waiting = 3;
        device.held = 1;
        device.uncertain = 1;
    };
    assert_eq!(of(parked), ["held chem"], "it waits for a person");
    let mut device = well("chem");
    device.waiting = 3;
    let mut off = facts(device);
    off.report.agent = AgentSwitch::Off;
    assert!(found(&off).is_empty());
}

#[test]
fn a_dead_push_is_seen_for_an_hour() {
    let mut facts = facts(well("chem"));
    let dead = |ago| LastDead {
        device: DeviceNo(1),
        push: PushId(9),
        at: Timestamp(NOW.0 - ago),
    };
    facts.dead = vec![dead(HOUR - 1)];
    assert_eq!(found(&facts), ["dead chem"]);
    facts.dead = vec![dead(HOUR)];
    assert!(found(&facts).is_empty());
}

#[test]
fn disk_clock_cloud_and_certificates_are_seen() {
    let mut facts = facts(well("chem"));
    facts.room.refusing = Some("it is full".into());
    facts.room.reserve = 0;
    facts.clock = Clock::Doubtful(Doubt::Backwards(Duration::from_hours(1)));
    facts.uplink = Some("no token".into());
    let ends = |days: i64| Ending {
        which: format!("the one of {days}"),
        words: "it ends".into(),
        end: Timestamp(NOW.0 + days * 24 * HOUR),
    };
    facts.endings = vec![ends(-1), ends(13), ends(15)];
    assert_eq!(
        found(&facts),
        [
            "disk",
            "reserve",
            "certificate the one of -1",
            "certificate the one of 13",
            "clock",
            "cloud-away"
        ]
    );
    facts.room = Room::default();
    assert!(
        !found(&facts).contains(&"reserve".to_owned()),
        "nobody has looked yet"
    );
}

#[test]
fn it_looks_often_enough_for_what_it_waits_for() {
    assert_eq!(AlarmTimes::default().look_every(), LONGEST_LOOK);
    let quick = AlarmTimes {
        calm: Duration::from_millis(400),
        ..AlarmTimes::default()
    };
    assert_eq!(quick.look_every(), Duration::from_millis(100));
}
