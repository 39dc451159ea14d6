//! What of a line's record excuses that an attempt is called uncertain.

use super::*;

const CAUSE: [Break; 1] = [Break::UncertainWithoutCause { push: 1 }];

impl Run {
    fn line(&mut self) -> &mut Line {
        self.story.lines.get_mut("chem").unwrap()
    }

    /// An attempt of push 1 to `chem`, whose message came by on this connection.
    fn tried(connection: u64) -> Self {
        let mut run = Self::new();
        run.push(1, "chem", "A", "a").sent(1);
        let at = run.now;
        let control_id = "C-a".into();
        run.line().said.push(Said {
            control_id,
            connection,
            at,
        });
        run
    }

    /// The answer to push 1 goes back on this connection, so long after now.
    fn heard(&mut self, connection: u64, after: i64) -> &mut Self {
        let from = self.now + after;
        self.line().heard.push(Heard {
            about: "C-a".into(),
            connection,
            from,
            until: from + 5,
        });
        self
    }

    /// Something befalls a connection, so long after now.
    fn trouble(&mut self, what: Harm, connection: u64, after: i64) -> &mut Self {
        let from = self.now + after;
        self.line().troubles.push(Trouble {
            what,
            connection: Some(connection),
            from,
            until: from + 5,
        });
        self
    }

    /// The agent gives up after so long.
    fn held_after(&mut self, after: i64) -> &mut Self {
        self.now += after;
        self.held(1)
    }
}

#[test]
fn an_answer_that_comes_too_late_excuses_and_one_in_time_does_not() {
    let mut run = Run::tried(1);
    run.heard(1, 700).held_after(600).breaks(&[]);
    assert_eq!(run.verdict().tally.uncertain_by_lateness, 1);
    Run::tried(1).heard(1, 100).held_after(600).breaks(&CAUSE);
}

#[test]
fn an_answer_that_was_there_before_the_end_was_written_down_is_counted_apart() {
    let mut run = Run::tried(1);
    run.heard(1, 550).held_after(600).breaks(&[]);
    let tally = run.verdict().tally;
    let counts = (tally.uncertain_closely, tally.uncertain_by_lateness);
    assert_eq!(counts, (1, 0));
}

#[test]
fn that_no_answer_is_known_excuses_nothing() {
    Run::tried(1).held_after(600).breaks(&CAUSE);
    // Nor that nothing of it has ever come by.
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").attempt(1);
    run.held_after(600).breaks(&CAUSE);
}

#[test]
fn an_answer_to_another_message_or_on_another_connection_is_not_the_one_that_was_late() {
    Run::tried(1).heard(2, 700).held_after(600).breaks(&CAUSE);
    let mut run = Run::tried(1);
    run.heard(1, 700).line().heard[0].about = "C-b".into();
    run.held_after(600).breaks(&CAUSE);
}

#[test]
fn a_late_answer_to_what_the_device_never_had_excuses_nothing() {
    let mut run = Run::tried(1);
    run.story.received.clear();
    run.heard(1, 700).held_after(600).breaks(&CAUSE);
}

#[test]
fn what_the_device_got_too_late_is_answered_too_late_whatever_becomes_of_the_answer() {
    let arriving = |after: i64| {
        let mut run = Run::tried(1);
        run.story.received[0].at = run.now + after;
        run.held_after(600);
        run.now += 500;
        run
    };
    arriving(700).breaks(&[]);
    assert_eq!(arriving(700).verdict().tally.uncertain_by_lateness, 1);
    arriving(100).breaks(&CAUSE);
}

#[test]
fn an_agent_that_does_not_wait_long_enough_has_no_excuse() {
    Run::tried(1).heard(1, 700).held_after(300).breaks(&CAUSE);
}

#[test]
fn trouble_excuses_until_the_answer_has_been_passed_on() {
    for what in [Harm::Ended, Harm::Dropped] {
        Run::tried(1)
            .trouble(what, 1, 50)
            .held_after(90)
            .breaks(&[]);
        let mut run = Run::tried(1);
        run.heard(1, 100)
            .trouble(what, 1, 50)
            .held_after(120)
            .breaks(&[]);
        let mut run = Run::tried(1);
        run.heard(1, 20)
            .trouble(what, 1, 50)
            .held_after(90)
            .breaks(&CAUSE);
    }
}

#[test]
fn spoilt_bytes_excuse_only_an_agent_that_has_waited() {
    let spoilt = |after| {
        let mut run = Run::tried(1);
        run.trouble(Harm::Spoilt, 1, 10).held_after(after);
        run
    };
    spoilt(600).breaks(&[]);
    spoilt(300).breaks(&CAUSE);
}

#[test]
fn trouble_excuses_only_what_came_by_on_that_connection_and_before_its_end() {
    Run::tried(1)
        .trouble(Harm::Dropped, 2, 50)
        .held_after(90)
        .breaks(&CAUSE);
    Run::tried(1)
        .trouble(Harm::Dropped, 1, -50)
        .held_after(90)
        .breaks(&CAUSE);
    Run::tried(1)
        .trouble(Harm::Dropped, 1, 150)
        .held_after(90)
        .breaks(&CAUSE);
}

#[test]
fn a_message_that_never_came_by_is_excused_by_a_connection_that_was_dropped_and_by_no_other() {
    let cases = [
        (Harm::Dropped, &[][..]),
        (Harm::Ended, &CAUSE[..]),
        (Harm::Spoilt, &CAUSE[..]),
    ];
    for (what, expected) in cases {
        let mut run = Run::new();
        run.push(1, "chem", "A", "a").attempt(1);
        run.trouble(what, 7, 50).held_after(90).breaks(expected);
    }
    // A refused dial is no attempt, and a drop that is over has done its harm.
    let mut run = Run::new();
    run.push(1, "chem", "A", "a").trouble(Harm::Dropped, 7, 0);
    run.now += 20;
    run.attempt(1).held_after(90).breaks(&CAUSE);
}

#[test]
fn each_attempt_has_its_own_message_and_connection() {
    let mut run = Run::tried(1);
    run.trouble(Harm::Ended, 1, 5).held_after(90).released(1);
    run.sent(1).held_after(90);
    run.breaks(&CAUSE);
    let at = run.now - 95;
    run.line().said.push(Said {
        control_id: "C-a".into(),
        connection: 2,
        at,
    });
    run.breaks(&CAUSE);
    run.trouble(Harm::Ended, 2, -40).breaks(&[]);
}

#[test]
fn a_copy_that_somebody_had_sent_again_is_known_by_its_bytes() {
    let mut run = Run::tried(1);
    run.delivered(1).asked("resend", 1);
    run.push(2, "chem", "A", "a")
        .attempt(2)
        .received("chem", "a");
    run.story.kept.pop();
    run.story.seen.clear();
    let row = run.row(2);
    (row.callback, row.sha256) = (None, Some("a".into()));
    let (at, connection) = (run.now, 1);
    let control_id = "C-a".into();
    run.line().said.push(Said {
        control_id,
        connection,
        at,
    });
    run.now += 600;
    run.held(2);
    run.breaks(&[Break::UncertainWithoutCause { push: 2 }]);
    run.heard(1, 700).breaks(&[]);
}

#[test]
fn a_device_that_never_answers_is_waited_for_all_the_same() {
    let mute = |after: i64| {
        let mut run = Run::tried(1);
        run.line().answers = Answers::Never;
        run.held_after(after);
        run
    };
    mute(600).breaks(&[]);
    assert_eq!(mute(600).verdict().tally.uncertain_by_silence, 1);
    mute(300).breaks(&CAUSE);
    let mut never_arrived = mute(600);
    never_arrived.story.received.clear();
    never_arrived.breaks(&CAUSE);
}
