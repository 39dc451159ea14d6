//! The `[delivery]` table, which a device file and `wardpost.toml` share: the latter gives the defaults.

use std::time::Duration;

use agent_core::push::{Completing, HoldScope, OnUncertain, Policy, WhenUnreachable};

use super::raw::Section;
use super::values::{Found, Limit};
use super::{DAY, SECOND};

/// What one `[delivery]` table says; `None` where it says nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Delivery {
    answer_within: Option<Duration>,
    when_unreachable: Option<WhenUnreachable>,
    rejoin_window: Option<Duration>,
    on_uncertain: Option<OnUncertain>,
    hold_scope: Option<HoldScope>,
    expires: Option<Limit>,
    paused: Option<bool>,
    pub(super) max_queued: Option<usize>,
}

impl Delivery {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            answer_within: section
                .duration("answer_within", Duration::ZERO..=55 * SECOND)
                .map(Found::into_value),
            when_unreachable: section
                .one_of(
                    "when_unreachable",
                    &[
                        ("queue", WhenUnreachable::Queue),
                        ("fail", WhenUnreachable::Fail),
                    ],
                )
                .map(Found::into_value),
            rejoin_window: section
                .duration("rejoin_window", Duration::ZERO..=7 * DAY)
                .map(Found::into_value),
            paused: section.flag("paused"),
            on_uncertain: read_on_uncertain(section),
            hold_scope: section
                .one_of(
                    "hold_scope",
                    &[("order", HoldScope::Order), ("device", HoldScope::Device)],
                )
                .map(Found::into_value),
            expires: section.duration_or_never("expires", SECOND..=90 * DAY),
            max_queued: section
                .count("max_queued", 1..=super::MOST_QUEUED)
                .map(Found::into_value),
        }
    }

    /// What a device does by this table, where that is silent by `defaults`, else by the built-in values.
    pub(super) fn policy(&self, defaults: &Self, max_queued: usize) -> Policy {
        Policy {
            answer_within: self
                .answer_within
                .or(defaults.answer_within)
                .unwrap_or(8 * SECOND),
            when_unreachable: self
                .when_unreachable
                .or(defaults.when_unreachable)
                .unwrap_or(WhenUnreachable::Queue),
            rejoin_window: self
                .rejoin_window
                .or(defaults.rejoin_window)
                .unwrap_or(600 * SECOND),
            on_uncertain: self
                .on_uncertain
                .or(defaults.on_uncertain)
                .unwrap_or(OnUncertain::Hold),
            hold_scope: self
                .hold_scope
                .or(defaults.hold_scope)
                .unwrap_or(HoldScope::Order),
            expires: match self.expires.or(defaults.expires) {
                Some(Limit::Never) => None,
                Some(Limit::After(age)) => Some(age),
                None => Some(3 * DAY),
            },
            paused: self.paused.or(defaults.paused).unwrap_or(false),
            max_queued: self
                .max_queued
                .or(defaults.max_queued)
                .unwrap_or(max_queued),
            completing: Completing::AtOnce,
        }
    }
}

fn read_on_uncertain(section: &mut Section<'_>) -> Option<OnUncertain> {
    let words = [
        ("hold", Some(OnUncertain::Hold)),
        ("resend", Some(OnUncertain::Resend)),
        ("query-first", None),
    ];
    let found = section.one_of("on_uncertain", &words)?;
    if found.value.is_none() {
        let message = "an HL7 device of this kind cannot be asked what it has, so \"query-first\" is not possible";
        section.refuse(
            "on_uncertain",
            found.place,
            [message, "write \"hold\" or \"resend\""],
        );
    }
    found.value
}
