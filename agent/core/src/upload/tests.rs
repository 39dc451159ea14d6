//! Tables of what happens, and what the sender makes of it, in virtual time.

use super::*;

/// The sender, a clock that is a number, and the numbers of the tries.
struct World {
    sender: Sender,
    now: u64,
}

impl World {
    /// A session with these uploads, written `channel/number`.
    fn with(uploads: &[&str]) -> Self {
        let mut world = Self {
            sender: Sender::default(),
            now: 1_000,
        };
        for upload in uploads {
            let (channel, id) = upload.split_once('/').unwrap();
            assert_eq!(world.put(channel, id.parse().unwrap()), "");
        }
        world
    }

    fn put(&mut self, channel: &str, id: u64) -> String {
        self.step(Input::Waits {
            id: UploadId(id),
            channel: channel.into(),
        })
    }

    /// The shortest dice: a pause is its lower end.
    fn step(&mut self, input: Input) -> String {
        let mut out = Vec::new();
        self.sender.step(input, (Mono(self.now), Dice(0)), &mut out);
        let words: Vec<String> = out.iter().map(word).collect();
        words.join(", ")
    }

    fn taken(&mut self, id: u64) -> String {
        let id = UploadId(id);
        let reply = Reply::Taken;
        self.step(Input::Answered { id, reply })
    }

    fn refused(&mut self, id: u64) -> String {
        let id = UploadId(id);
        let reply = Reply::Refused { status: 400 };
        self.step(Input::Answered { id, reply })
    }

    /// Goes on to the next deadline; gives the seconds until then, too.
    fn tick(&mut self) -> (u64, String) {
        let at = self.sender.deadline().expect("something is due").0;
        let waited = at.saturating_sub(self.now);
        self.now = self.now.max(at);
        (waited / 1000, self.step(Input::Tick))
    }
}

fn word(output: &Output) -> String {
    match output {
        Output::Send { id, attempt } => format!("send {}#{attempt}", id.0),
        Output::Close {
            id,
            end: End::Taken,
        } => format!("taken {}", id.0),
        Output::Close { id, .. } => format!("given up {}", id.0),
    }
}

#[test]
fn on_each_channel_one_is_in_flight_and_they_go_in_order() {
    let mut world = World::with(&["a/2", "a/1", "b/3", "a/4"]);
    assert_eq!(world.step(Input::LinkUp), "send 1#1, send 3#2");
    assert_eq!(world.taken(3), "taken 3");
    assert_eq!(world.taken(1), "taken 1, send 2#3");
    assert_eq!(world.put("b", 5), "send 5#4");
    assert_eq!(world.taken(2), "taken 2, send 4#5");
    assert_eq!(world.taken(5), "taken 5");
    assert_eq!(world.taken(4), "taken 4");
    assert_eq!((world.sender.waiting(), world.sender.deadline()), (0, None));
}

#[test]
fn nothing_goes_out_without_a_session() {
    let mut world = World::with(&["a/1"]);
    assert_eq!(world.step(Input::Tick), "");
    assert_eq!(world.sender.deadline(), None);
    assert_eq!(world.step(Input::LinkUp), "send 1#1");
}

#[test]
fn what_was_in_flight_when_the_session_ended_goes_again_in_the_next_one() {
    let mut world = World::with(&["a/1", "a/2"]);
    assert_eq!(world.step(Input::LinkUp), "send 1#1");
    assert_eq!(world.step(Input::LinkDown), "");
    assert_eq!(world.step(Input::LinkUp), "send 1#2");
    assert_eq!(world.taken(1), "taken 1, send 2#3");
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_longer_than_a_minute() {
    let mut world = World::with(&["a/1"]);
    world.step(Input::LinkUp);
    assert_eq!(world.tick(), (60, String::new()));
    let mut waits = Vec::new();
    for attempt in 2..12 {
        let (waited, did) = world.tick();
        assert_eq!(did, format!("send 1#{attempt}"));
        waits.push(waited);
        assert_eq!(world.tick(), (60, String::new()));
    }
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 64, 128, 150]);
}

#[test]
fn the_answer_to_an_earlier_try_closes_it_and_a_second_one_means_nothing() {
    let mut world = World::with(&["a/1", "a/2"]);
    world.step(Input::LinkUp);
    world.tick();
    assert_eq!(world.taken(1), "taken 1, send 2#2", "while it waits");
    world.tick();
    assert_eq!(world.tick(), (1, "send 2#3".into()));
    assert_eq!(world.taken(2), "taken 2", "while it is in flight again");
    assert_eq!(world.taken(2), "");
    assert_eq!(world.taken(1), "");
}

#[test]
fn a_refusal_is_tried_again_in_its_place() {
    let mut world = World::with(&["a/1", "a/2"]);
    world.step(Input::LinkUp);
    assert_eq!(world.refused(1), "");
    assert_eq!(world.tick(), (1, "send 1#2".into()));
    assert_eq!(world.taken(1), "taken 1, send 2#3");
}

#[test]
fn a_late_refusal_does_not_end_the_try_under_way() {
    let mut world = World::with(&["a/1"]);
    world.step(Input::LinkUp);
    assert_eq!(world.refused(1), "");
    assert_eq!(world.refused(1), "", "twice the same");
    assert_eq!(world.tick(), (1, "send 1#2".into()));
}

#[test]
fn one_that_is_always_refused_lets_the_others_pass_and_is_tried_now_and_then() {
    let mut world = World::with(&["a/1", "a/2", "a/3"]);
    world.step(Input::LinkUp);
    for attempt in 2..6 {
        assert_eq!(world.refused(1), "");
        assert_eq!(world.tick().1, format!("send 1#{attempt}"));
    }
    assert_eq!(world.refused(1), "send 2#6");
    assert_eq!(world.taken(2), "taken 2, send 3#7");
    assert_eq!(world.taken(3), "taken 3");
    assert_eq!(world.tick(), (16, "send 1#8".into()));
    assert_eq!(world.refused(1), "");
    assert_eq!(world.put("a", 4), "send 4#9");
    assert_eq!(world.taken(4), "taken 4");
    assert_eq!(world.tick(), (32, "send 1#10".into()));
    assert_eq!(world.taken(1), "taken 1");
}

#[test]
fn one_that_was_refused_for_a_week_is_given_up() {
    let mut world = World::with(&["a/1"]);
    world.step(Input::LinkUp);
    let began = world.now;
    let mut refusals = 0;
    loop {
        refusals += 1;
        let did = world.refused(1);
        if did == "given up 1" {
            break;
        }
        while !world.tick().1.starts_with("send") {}
    }
    assert_eq!(refusals, MOST_REFUSALS);
    let days = (world.now - began) / (24 * 3600 * 1000);
    assert!((3..8).contains(&days), "{days} days, by the shortest dice");
    assert_eq!(world.sender.waiting(), 0);
}

#[test]
fn an_error_without_a_callback_is_about_the_only_one_in_flight() {
    let mut world = World::with(&["a/1"]);
    assert_eq!(world.step(Input::Error { about: None }), "");
    world.step(Input::LinkUp);
    assert_eq!(world.step(Input::Error { about: None }), "");
    assert_eq!(world.tick(), (1, "send 1#2".into()));
}

#[test]
fn an_error_that_names_one_is_about_that_one() {
    let mut world = World::with(&["a/1", "b/2"]);
    world.step(Input::LinkUp);
    let about = Some(UploadId(2));
    assert_eq!(world.step(Input::Error { about }), "");
    assert_eq!(world.step(Input::Error { about }), "", "not in flight");
    assert_eq!(world.tick(), (1, "send 2#3".into()));
}

#[test]
fn where_several_are_in_flight_an_error_without_a_callback_ends_none() {
    let mut world = World::with(&["a/1", "b/2"]);
    world.step(Input::LinkUp);
    assert_eq!(world.step(Input::Error { about: None }), "");
    assert_eq!(world.tick(), (60, String::new()));
}

#[test]
fn what_can_never_go_is_given_up_and_the_next_one_goes() {
    let mut world = World::with(&["a/1", "a/2"]);
    world.step(Input::LinkUp);
    let unsendable = Input::Unsendable {
        id: UploadId(1),
        why: "too large".into(),
    };
    assert_eq!(world.step(unsendable), "given up 1, send 2#2");
    let gone = Input::Gone { id: UploadId(2) };
    assert_eq!(world.step(gone), "");
}

#[test]
fn what_is_told_anew_goes_to_the_channel_that_it_has_now() {
    let mut world = World::with(&["a/1", "a/2"]);
    world.step(Input::LinkUp);
    assert_eq!(world.step(Input::Forget), "");
    assert_eq!(world.put("b", 1), "send 1#2");
    assert_eq!(world.put("b", 2), "");
    assert_eq!(world.taken(1), "taken 1, send 2#3");
}
