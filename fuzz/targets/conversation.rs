//! Whatever a line can tell a conversation, in any order.
//!
//! Every submission is settled once, and never are two messages out.

#![no_main]

use std::collections::HashMap;
use std::time::Duration;

use device_drivers::{
    Conversation, Input, Mono, NotDelivered, Outcome, Output, Submission, SubmissionId, hl7,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let settings = hl7::Settings::default();
    let mut play = Play {
        conversation: settings.dial(),
        settled: HashMap::new(),
        submitted: 0,
        out: 0,
        now: Mono(0),
    };
    let mut rest = input;
    while let Some((what, after)) = rest.split_first() {
        rest = play.step(*what, after, &settings);
    }
    play.handle(Input::Closed { unsent: 0 });
    for id in (0..play.submitted).map(SubmissionId) {
        assert_eq!(play.settled.get(&id), Some(&1), "{id:?}");
    }
});

struct Play {
    conversation: Box<dyn Conversation>,
    settled: HashMap<SubmissionId, u32>,
    submitted: u64,
    out: u32,
    now: Mono,
}

impl Play {
    /// One input, chosen by a byte; what is left of the bytes comes back.
    fn step<'a>(&mut self, what: u8, after: &'a [u8], settings: &hl7::Settings) -> &'a [u8] {
        match what % 8 {
            0 => self.handle(Input::Opened),
            1 => self.handle(Input::Drained),
            2 | 3 => self.submit(settings),
            4 => self.answer(what),
            5 => {
                self.now = self.now.plus(Duration::from_millis(u64::from(what) * 200));
                self.handle(Input::Tick);
            }
            6 if what > 250 => self.handle(Input::Stop),
            _ => {
                let (bytes, rest) = after.split_at(after.len().min(usize::from(what / 8)));
                self.handle(Input::Bytes(bytes));
                return rest;
            }
        }
        after
    }

    fn submit(&mut self, settings: &hl7::Settings) {
        let text = format!(
            "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|{}|P|2.5.1",
            self.submitted
        );
        let checked = hl7::prepare(&text, &settings.charset, settings.limits());
        let order = checked.expect("a good message").into_order(None);
        let id = SubmissionId(self.submitted);
        self.submitted += 1;
        self.handle(Input::Submit(id, Submission::Hl7(order)));
    }

    fn answer(&mut self, what: u8) {
        let code = ["AA", "AE", "CA", "CR"][usize::from(what / 8) % 4];
        let id = self.submitted.saturating_sub(u64::from(what / 64));
        let answer = format!("MSH|^~\\&|LAB\rMSA|{code}|{id}\r");
        self.handle(Input::Bytes(&hl7::encode(answer.as_bytes())));
    }

    fn handle(&mut self, input: Input<'_>) {
        self.conversation.handle(input, self.now);
        while let Some(output) = self.conversation.poll() {
            match output {
                Output::Transmit(_) => {
                    self.out += 1;
                    assert_eq!(self.out, 1, "two messages are out");
                }
                Output::Settled(id, outcome) => self.settle(id, &outcome),
                _ => {}
            }
        }
    }

    fn settle(&mut self, id: SubmissionId, outcome: &Outcome) {
        *self.settled.entry(id).or_default() += 1;
        let never_sent = matches!(
            outcome,
            Outcome::NotDelivered {
                why: NotDelivered::NotReady,
                ..
            }
        );
        self.out -= u32::from(!never_sent);
    }
}
