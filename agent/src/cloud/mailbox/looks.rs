//! Pushes that are being looked at in the store: each look begins after all that was heard of its push before.
//!
//! A look takes a while, and a push may go on meanwhile. Two looks at once could end in the other order, and what the
//! store was found to say first would stand for ever. So what is heard during a look makes another one follow it.

use std::collections::HashMap;

use agent_core::push::PushId;

#[derive(Debug, Default)]
pub(super) struct Looks(HashMap<PushId, Look>);

#[derive(Debug, Default)]
struct Look {
    under_way: usize,
    again: bool,
}

impl Looks {
    /// An errand begins, and looks at the push when it is done.
    pub(super) fn begin(&mut self, push: PushId) {
        let look = self.0.entry(push).or_default();
        look.again |= look.under_way > 0;
        look.under_way += 1;
    }

    /// Something was recorded of the push. Says whether to begin a look; if not, one follows.
    pub(super) fn wants(&mut self, push: PushId) -> bool {
        let look = self.0.entry(push).or_default();
        if look.under_way > 0 {
            look.again = true;
            return false;
        }
        look.under_way = 1;
        true
    }

    /// One has ended. Says whether to begin another.
    pub(super) fn ended(&mut self, push: PushId) -> bool {
        let Some(look) = self.0.get_mut(&push) else {
            return false;
        };
        look.under_way = look.under_way.saturating_sub(1);
        if look.under_way > 0 {
            return false;
        }
        let again = look.again;
        self.0.remove(&push);
        again && self.wants(push)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSH: PushId = PushId(7);

    #[test]
    fn what_is_heard_during_a_look_is_looked_at_once_more() {
        let mut looks = Looks::default();
        assert!(looks.wants(PUSH));
        assert!(!looks.wants(PUSH));
        assert!(!looks.wants(PUSH));
        assert!(looks.ended(PUSH));
        assert!(!looks.ended(PUSH));
        assert!(looks.wants(PUSH), "and it begins anew");
    }

    #[test]
    fn what_is_heard_during_an_errand_is_looked_at_when_it_is_done() {
        let mut looks = Looks::default();
        looks.begin(PUSH);
        assert!(!looks.wants(PUSH));
        assert!(looks.ended(PUSH));
        assert!(!looks.ended(PUSH));
    }

    #[test]
    fn after_an_errand_that_overlaps_a_look_both_are_looked_at_again() {
        let mut looks = Looks::default();
        assert!(looks.wants(PUSH));
        looks.begin(PUSH);
        assert!(!looks.ended(PUSH));
        assert!(looks.ended(PUSH));
        assert!(!looks.ended(PUSH));
    }
}
