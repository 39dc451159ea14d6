use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const LIMIT: usize = 1_048_576;

fn outbox(taken: u64) -> Outbox {
    Outbox::new(Seq(taken), LIMIT)
}

#[test]
fn the_next_answer_is_sent_an_old_one_is_known_and_a_later_one_shows_a_gap() {
    let mut outbox = outbox(10);
    assert_eq!(outbox.offer(Seq(12), Seq(10)), Offer::Send);
    outbox.sent(Seq(12), 100, Mono(0));
    assert_eq!(outbox.offer(Seq(12), Seq(10)), Offer::Known);
    assert_eq!(outbox.offer(Seq(15), Seq(14)), Offer::Gap);
    assert_eq!(
        outbox.behind(),
        Some(Gap {
            after: Seq(12),
            newest: Seq(15)
        })
    );
}

#[test]
fn an_answer_is_taken_only_by_a_heartbeat_that_left_after_it() {
    let mut outbox = outbox(0);
    outbox.sent(Seq(1), 100, Mono(0));
    outbox.heartbeat_sent();
    outbox.sent(Seq(2), 100, Mono(0));
    assert_eq!(outbox.heartbeat_answered(), Some(Seq(1)));
    assert_eq!(outbox.heartbeat_answered(), None, "nobody asked again");
    outbox.heartbeat_sent();
    assert_eq!(outbox.heartbeat_answered(), Some(Seq(2)));
}

#[test]
fn a_new_session_begins_again_at_the_taken_mark() {
    let mut outbox = outbox(0);
    outbox.sent(Seq(1), 100, Mono(0));
    outbox.heartbeat_sent();
    outbox.begin_session();
    outbox.heard_of(Seq(1));
    assert_eq!(
        outbox.behind(),
        Some(Gap {
            after: Seq(0),
            newest: Seq(1)
        })
    );
    assert_eq!(
        outbox.heartbeat_answered(),
        None,
        "that heartbeat was another session's"
    );
}

#[test]
fn a_heartbeat_is_due_a_second_after_the_first_answer_or_at_once_after_a_thousand() {
    let mut outbox = outbox(0);
    assert_eq!(outbox.heartbeat_due(), None);
    outbox.sent(Seq(1), 100, Mono(500));
    assert_eq!(outbox.heartbeat_due(), Some(Mono(1_500)));
    for seq in 2..=1_000 {
        outbox.sent(Seq(seq), 100, Mono(600));
    }
    assert_eq!(outbox.heartbeat_due(), Some(Mono(500)));
    outbox.heartbeat_sent();
    assert_eq!(outbox.heartbeat_due(), None);
}

#[test]
fn a_server_that_answers_no_heartbeat_is_not_flooded_with_them() {
    let mut outbox = outbox(0);
    for seq in 1..=100 {
        outbox.sent(Seq(seq), 100, Mono(0));
        if outbox.heartbeat_due().is_some() {
            outbox.heartbeat_sent();
        }
    }
    assert_eq!(outbox.beats.len(), MOST_OPEN_BEATS);
}

#[test]
fn an_empty_page_ends_the_reading_unless_more_was_heard_of() {
    let mut outbox = outbox(0);
    outbox.heard_of(Seq(5));
    let gap = outbox.behind().unwrap();
    outbox.heard_of(Seq(6));
    outbox.nothing_in(gap);
    let gap = outbox.behind().unwrap();
    outbox.nothing_in(gap);
    assert_eq!(outbox.behind(), None);
}

#[test]
fn what_a_server_found_too_large_is_over_the_limit_from_then_on() {
    let mut outbox = outbox(0);
    outbox.sent(Seq(1), 100, Mono(0));
    outbox.sent(Seq(2), 700_000, Mono(0));
    assert_eq!(outbox.server_found_one_too_large(), Some(699_999));
    outbox.begin_session();
    assert!(!outbox.fits(700_000));
    assert!(outbox.fits(100));
}

#[test]
fn a_close_as_too_large_after_small_answers_teaches_nothing() {
    let mut outbox = outbox(0);
    outbox.sent(Seq(1), 100, Mono(0));
    assert_eq!(outbox.server_found_one_too_large(), None);
    assert!(outbox.fits(LIMIT));
}

/// What may happen between the agent, its disk and the server.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// An answer is recorded; the channel brings it.
    Answer,
    /// An answer is recorded; the channel drops it.
    Dropped,
    ReadPage,
    Heartbeat,
    /// The server reads the oldest envelope under way.
    ServerReads,
    /// The agent reads the oldest heartbeat answer under way.
    AgentReads,
    Cut,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Answer),
        1 => Just(Event::Dropped),
        2 => Just(Event::ReadPage),
        1 => Just(Event::Heartbeat),
        4 => Just(Event::ServerReads),
        2 => Just(Event::AgentReads),
        1 => Just(Event::Cut),
    ]
}

enum Envelope {
    Answer(u64),
    Heartbeat,
}

/// A disk, a server and the two queues between.
struct World {
    outbox: Outbox,
    recorded: u64,
    down: VecDeque<()>,
    up: VecDeque<Envelope>,
    /// The server has every answer up to here.
    received: u64,
    last_of_session: u64,
    taken: u64,
}

impl World {
    fn new() -> Self {
        let (down, up) = (VecDeque::new(), VecDeque::new());
        let (recorded, received, last_of_session, taken) = (0, 0, 0, 0);
        Self {
            outbox: outbox(0),
            recorded,
            down,
            up,
            received,
            last_of_session,
            taken,
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Answer => {
                self.recorded += 1;
                let prev = Seq(self.recorded - 1);
                if self.outbox.offer(Seq(self.recorded), prev) == Offer::Send {
                    self.send(self.recorded);
                }
            }
            Event::Dropped => self.recorded += 1,
            Event::ReadPage => self.read_page(),
            Event::Heartbeat => {
                self.up.push_back(Envelope::Heartbeat);
                self.outbox.heartbeat_sent();
            }
            Event::ServerReads => self.server_reads(),
            Event::AgentReads => {
                if self.down.pop_front().is_some()
                    && let Some(mark) = self.outbox.heartbeat_answered()
                {
                    assert!(mark.0 > self.taken, "the mark only rises");
                    assert!(
                        mark.0 <= self.received,
                        "taken means that the server has it"
                    );
                    self.taken = mark.0;
                }
            }
            Event::Cut => {
                self.up.clear();
                self.down.clear();
                self.outbox.begin_session();
                self.last_of_session = self.taken;
            }
        }
    }

    fn send(&mut self, seq: u64) {
        self.up.push_back(Envelope::Answer(seq));
        self.outbox.sent(Seq(seq), 100, Mono(0));
    }

    fn read_page(&mut self) {
        self.outbox.heard_of(Seq(self.recorded));
        let Some(gap) = self.outbox.behind() else {
            return;
        };
        for seq in (gap.after.0 + 1..=self.recorded).take(3) {
            self.send(seq);
        }
    }

    fn server_reads(&mut self) {
        match self.up.pop_front() {
            Some(Envelope::Answer(seq)) => {
                assert_eq!(
                    seq,
                    self.last_of_session + 1,
                    "in order, with none left out"
                );
                self.last_of_session = seq;
                self.received = self.received.max(seq);
            }
            Some(Envelope::Heartbeat) => self.down.push_back(()),
            None => {}
        }
    }
}

proptest! {
    #[test]
    fn no_answer_is_lost_or_taken_early(events in prop::collection::vec(event(), 0..400)) {
        let mut world = World::new();
        for event in events {
            world.happens(event);
        }
        for _ in 0..world.recorded {
            world.happens(Event::ReadPage);
        }
        world.happens(Event::Heartbeat);
        while !world.up.is_empty() {
            world.happens(Event::ServerReads);
        }
        while !world.down.is_empty() {
            world.happens(Event::AgentReads);
        }
        prop_assert_eq!(world.received, world.recorded);
        prop_assert_eq!(world.taken, world.recorded);
    }
}
