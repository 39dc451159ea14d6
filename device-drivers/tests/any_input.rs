//! Whatever a line tells a conversation, in whatever order: it never panics, every submission is settled exactly once,
//! and nothing is sent that could meet another message's answer.

use std::collections::HashMap;
use std::time::Duration;

use device_drivers::{
    Conversation, Input, Mono, NotDelivered, Outcome, Output, Submission, SubmissionId, hl7,
};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Opened,
    Bytes(Vec<u8>),
    Drained,
    Submit,
    Wait(u64),
    Stop,
    Closed(usize),
}

/// What the outputs of one conversation add up to.
#[derive(Default)]
struct Ledger {
    submitted: u64,
    settled: HashMap<SubmissionId, usize>,
    out: usize,
    closing: bool,
}

impl Ledger {
    fn take(&mut self, conversation: &mut dyn Conversation) -> Result<(), TestCaseError> {
        while let Some(output) = conversation.poll() {
            match output {
                Output::Transmit(bytes) => {
                    prop_assert!(!self.closing, "sent after the wish to close");
                    prop_assert!(bytes.starts_with(b"\x0bMSH") && bytes.ends_with(b"\r\x1c\r"));
                    self.out += 1;
                    prop_assert!(self.out == 1, "two messages are out");
                }
                Output::Settled(id, outcome) => {
                    *self.settled.entry(id).or_default() += 1;
                    let never_sent = matches!(
                        outcome,
                        Outcome::NotDelivered {
                            why: NotDelivered::NotReady,
                            ..
                        }
                    );
                    self.out -= usize::from(!never_sent);
                }
                Output::News(id, _) => prop_assert!(self.settled.contains_key(&id)),
                Output::Close(_) => self.closing = true,
                Output::Noticed(_) => {}
            }
        }
        if self.closing {
            prop_assert_eq!(conversation.free_slots(), 0);
        }
        Ok(())
    }
}

fn order(number: u64) -> Submission {
    let text = format!(
        "MSH|^~\\&|EHR|H1|LAB|H1|20260301||OML^O21|{}|P|2.5.1",
        number % 4
    );
    let settings = hl7::Settings::default();
    let checked = hl7::prepare(&text, &settings.charset, settings.limits());
    let checked = checked.expect("a message that can be sent");
    let return_ack = [
        None,
        Some(hl7::ReturnAck::First),
        Some(hl7::ReturnAck::Application),
    ];
    Submission::Hl7(checked.into_order(return_ack[(number % 3) as usize]))
}

fn answers() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop::sample::select(vec!["AA", "AE", "AR", "CA", "CE", "CR", "XX", ""]);
    (codes, 0_u8..5)
        .prop_map(|(code, id)| hl7::encode(format!("MSH|^~\\&|LAB\rMSA|{code}|{id}\r").as_bytes()))
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let framing = prop::sample::select(vec![0x0b, 0x1c, b'\r', b'\n', b'M']);
    prop_oneof![
        4 => answers(),
        1 => (answers(), 0_usize..30).prop_map(|(mut answer, length)| { answer.truncate(length); answer }),
        1 => answers().prop_map(|answer| answer[1..].to_vec()),
        1 => vec(framing, 0..6),
        1 => vec(any::<u8>(), 0..20),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => Just(Step::Opened),
        6 => bytes().prop_map(Step::Bytes),
        4 => Just(Step::Drained),
        6 => Just(Step::Submit),
        3 => prop::sample::select(vec![0, 1, 100, 29_999, 30_000, 130_000]).prop_map(Step::Wait),
        1 => Just(Step::Stop),
        1 => (0_usize..120).prop_map(Step::Closed),
    ];
    vec(step, 0..60)
}

fn settings() -> impl Strategy<Value = hl7::Settings> {
    (any::<bool>(), any::<bool>(), 0_usize..200).prop_map(|(persistent, strict, max_message)| {
        let lifetime = if persistent {
            hl7::Lifetime::Persistent
        } else {
            hl7::Lifetime::PerMessage
        };
        let frame_end = if strict {
            hl7::FrameEnd::Strict
        } else {
            hl7::FrameEnd::Lenient
        };
        hl7::Settings {
            lifetime,
            frame_end,
            max_message,
            ..hl7::Settings::default()
        }
    })
}

fn play(steps: Vec<Step>, settings: &hl7::Settings) -> Result<(), TestCaseError> {
    let mut conversation = settings.dial();
    let mut ledger = Ledger::default();
    let mut now = Mono(0);
    for step in steps.into_iter().chain([Step::Closed(0)]) {
        match step {
            Step::Opened => conversation.handle(Input::Opened, now),
            Step::Bytes(bytes) => conversation.handle(Input::Bytes(&bytes), now),
            Step::Drained => conversation.handle(Input::Drained, now),
            Step::Submit => {
                let id = SubmissionId(ledger.submitted);
                conversation.handle(Input::Submit(id, order(ledger.submitted)), now);
                ledger.submitted += 1;
            }
            Step::Wait(millis) => {
                now = now.plus(Duration::from_millis(millis));
                conversation.handle(Input::Tick, now);
                prop_assert!(
                    conversation
                        .deadline()
                        .is_none_or(|deadline| deadline > now)
                );
            }
            Step::Stop => conversation.handle(Input::Stop, now),
            Step::Closed(unsent) => conversation.handle(Input::Closed { unsent }, now),
        }
        ledger.take(conversation.as_mut())?;
    }
    for id in (0..ledger.submitted).map(SubmissionId) {
        prop_assert_eq!(ledger.settled.get(&id), Some(&1));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_submission_is_settled_once_whatever_happens(steps in steps(), settings in settings()) {
        play(steps, &settings)?;
    }
}
