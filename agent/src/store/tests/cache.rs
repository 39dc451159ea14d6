//! Bodies in memory: for pushes that may be sent in a moment, and for no other.

use agent_core::push::{Mono, Now};
use agent_core::queue::{Known, Queue, Turn};

use super::super::parcel::Cache;
use super::*;

#[test]
fn a_push_that_ends_unsent_after_its_202_takes_no_memory_any_more() {
    let mut queue = Queue::new(100);
    let mut turn = Turn::default();
    let mut device = device();
    device.policy.expires = Some(Duration::from_mins(1));
    queue.configure([(CHEM, device)], &mut turn);
    queue.session(Session::Live);
    for n in 0..10 {
        let push = push(&format!("c{n}"), &format!("MSH|{n}"));
        queue.accept(push.into(), Known::No, &mut turn);
    }
    let mut cache = Cache::default();
    let mut at = |seconds: u64, turn: Turn| {
        for row in &turn.rows {
            cache.follow(row, &queue);
        }
        let mut next = Turn::at(Now {
            mono: Mono(seconds * 1000),
            utc: Timestamp::default().plus(Duration::from_secs(seconds)),
            dice: 0,
        });
        queue.tick(&mut next);
        (cache.bytes(), next)
    };
    let (waiting, turn) = at(9, turn);
    assert_eq!(waiting, 50);
    assert_eq!(turn.rows.len(), 10, "each was told 202");
    let (told, turn) = at(61, turn);
    assert_eq!((told, turn.rows.len()), (50, 10), "all of them expire");
    assert_eq!(at(62, turn).0, 0);
}
