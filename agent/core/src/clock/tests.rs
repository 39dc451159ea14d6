use super::*;

/// 2027-03-14T01:30:00Z, half an hour before New York's clocks go forward.
const T: Timestamp = Timestamp(1_804_987_800_000);
const M: Mono = Mono(50_000);
const SYNCHRONISED: Kept = Kept::Synchronised;
const UNKNOWN: Kept = Kept::Unknown;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

fn judge() -> ClockJudge {
    ClockJudge::new(Some(ClockMark { utc: T, mono: M }))
}

/// A judge that has heard from the cloud, whose clock differs from the mark by so much.
fn told(cloud: i64) -> ClockJudge {
    let mut judge = judge();
    judge.heard(CloudTime {
        date: Timestamp(T.0 + cloud),
        asked: M,
        answered: Mono(M.0 + 200),
    });
    judge
}

/// A reading some time after the mark, of a clock that differs by so much from that time.
fn reading(later: i64, wrong: i64, kept: Kept) -> Reading {
    Reading {
        mono: Mono(M.0 + later.unsigned_abs()),
        utc: Timestamp(T.0 + later + wrong),
        kept,
    }
}

/// The verdict in words, and how far what is written down is from the true time.
fn look(judge: &mut ClockJudge, later: i64, wrong: i64, kept: Kept) -> (String, i64) {
    let judged = judge.look(reading(later, wrong, kept));
    let words = match judged.clock {
        Clock::Sound => "sound".to_owned(),
        Clock::Doubtful(doubt) => doubt.to_string(),
    };
    (words, judged.utc.0 - T.0 - later)
}

#[test]
fn every_row_of_the_table() {
    let behind = |span| format!("the clock of this box is {span} behind the cloud's");
    let ahead = |span| format!("the clock of this box is {span} ahead of the cloud's");
    let past = |span| format!("the clock of this box shows a time that is past, by {span} or more");
    let leap = |span| {
        format!(
            "the clock of this box is {span} ahead of its newest record, and nobody confirms it"
        )
    };
    let sound = || "sound".to_owned();
    let near = Some(0);
    // The cloud's clock; the box's; what the system says; the verdict; what is written down.
    let rows = [
        (near, 0, UNKNOWN, sound(), 0),
        (near, 4 * MINUTE, UNKNOWN, sound(), 4 * MINUTE),
        (near, -4 * MINUTE, UNKNOWN, sound(), -4 * MINUTE),
        (near, -6 * MINUTE, UNKNOWN, behind("6 minutes"), 0),
        (near, 7 * MINUTE, UNKNOWN, ahead("7 minutes"), 0),
        (near, 3 * HOUR, UNKNOWN, ahead("3 hours"), 0),
        (near, 64 * YEAR, UNKNOWN, ahead("64 years"), 0),
        (near, -T.0 - HOUR, UNKNOWN, behind("57 years"), 0),
        (near, 7 * MINUTE, SYNCHRONISED, sound(), 7 * MINUTE),
        (near, -HOUR, SYNCHRONISED, behind("60 minutes"), 0),
        (Some(-10 * DAY), -10 * DAY, UNKNOWN, sound(), -10 * DAY),
        (Some(10 * DAY), 10 * DAY, UNKNOWN, sound(), 10 * DAY),
        (Some(10 * DAY), 0, UNKNOWN, behind("10 days"), 10 * DAY),
        (Some(10 * DAY), 0, SYNCHRONISED, sound(), 0),
        (None, 0, UNKNOWN, sound(), 0),
        (None, -30_000, UNKNOWN, sound(), -30_000),
        (None, -2 * MINUTE, UNKNOWN, past("2 minutes"), 0),
        (None, -2 * MINUTE, SYNCHRONISED, past("2 minutes"), 0),
        (None, -T.0 - HOUR, UNKNOWN, past("57 years"), 0),
        (None, 2 * DAY, UNKNOWN, sound(), 2 * DAY),
        (None, 4 * DAY, UNKNOWN, leap("4 days"), 0),
        (None, 4 * DAY, SYNCHRONISED, sound(), 4 * DAY),
        (None, 63 * YEAR, UNKNOWN, leap("63 years"), 0),
    ];
    for (cloud, wrong, kept, words, written) in rows {
        let mut judge = cloud.map_or_else(judge, told);
        let case = format!("{cloud:?} {wrong} {kept:?}");
        let (said, at) = look(&mut judge, HOUR, wrong, kept);
        assert_eq!(said, words, "{case}");
        assert!((at - written).abs() <= 200, "{case}: {at}");
    }
}

#[test]
fn a_change_to_summer_time_is_no_change_of_utc() {
    let mut judge = judge();
    for minute in 0..120 {
        let (said, at) = look(&mut judge, minute * MINUTE, 0, UNKNOWN);
        assert_eq!((said.as_str(), at), ("sound", 0));
    }
}

#[test]
fn a_step_back_is_noticed_while_the_process_runs_and_what_is_written_down_never_goes_back() {
    let mut judge = judge();
    look(&mut judge, 10 * HOUR, 0, UNKNOWN);
    for minutes in 1..100 {
        let later = 10 * HOUR + minutes * MINUTE;
        let (said, at) = look(&mut judge, later, -9 * HOUR, UNKNOWN);
        assert!(said.contains("a time that is past"), "{said}");
        assert_eq!(at, 0, "it goes on at the pace of the boot-time clock");
    }
    assert_eq!(look(&mut judge, 12 * HOUR, 0, UNKNOWN).0, "sound");
}

#[test]
fn a_wrong_mark_lasts_until_the_cloud_knows_better() {
    let mut judge = judge();
    assert_eq!(look(&mut judge, HOUR, 2 * DAY, UNKNOWN).0, "sound");
    assert!(look(&mut judge, 2 * HOUR, 0, UNKNOWN).0.contains("past"));
    judge.heard(CloudTime {
        date: Timestamp(T.0 + 2 * HOUR),
        asked: Mono(M.0 + 7_200_000),
        answered: Mono(M.0 + 7_200_000),
    });
    assert_eq!(look(&mut judge, 2 * HOUR, 0, UNKNOWN), ("sound".into(), 0));
    assert_eq!(judge.mark().unwrap().utc, Timestamp(T.0 + 2 * HOUR));
}

#[test]
fn a_clock_that_is_set_during_a_session_is_caught_at_the_next_look() {
    let mut judge = told(0);
    assert_eq!(look(&mut judge, HOUR, 0, UNKNOWN).0, "sound");
    assert!(
        look(&mut judge, HOUR + 1, YEAR, UNKNOWN)
            .0
            .contains("ahead")
    );
    assert!(
        look(&mut judge, HOUR + 2, -YEAR, UNKNOWN)
            .0
            .contains("behind")
    );
    assert_eq!(look(&mut judge, HOUR + 3, 0, UNKNOWN).0, "sound");
}

#[test]
fn a_slow_answer_of_the_cloud_casts_no_doubt() {
    let mut judge = judge();
    judge.heard(CloudTime {
        date: T,
        asked: M,
        answered: Mono(M.0 + 15_000),
    });
    let edges = [-5 * MINUTE - 14_000, 5 * MINUTE];
    for wrong in edges {
        assert_eq!(
            look(&mut judge, 15_000, wrong, UNKNOWN).0,
            "sound",
            "{wrong}"
        );
    }
}

#[test]
fn a_new_box_in_1970_is_not_believed() {
    let mut judge = ClockJudge::new(None);
    let judged = judge.look(Reading {
        mono: Mono(9_000),
        utc: Timestamp(12_000),
        kept: Kept::Unknown,
    });
    assert!(!judged.clock.is_sound());
    assert_eq!(judged.utc, EARLIEST);
}
