//! The mailbox against a cloud and a store that exist only in memory: cut at every point, in every way.

mod world;

use std::time::Duration;

use super::*;
use world::{Blow, World};

/// Two devices with three Tasks each.
fn six() -> World {
    let mut world = World::new();
    for n in 0..3 {
        world.request(&format!("c{n}"), "Device/chem", n);
        world.request(&format!("h{n}"), "Device/hema", n);
    }
    world
}

#[test]
fn every_task_is_claimed_delivered_once_in_order_and_told() {
    let mut world = six();
    world.run();
    world.check_all_delivered();
    assert_eq!(world.history("c0"), ["requested", "accepted", "completed"]);
}

#[test]
fn a_blow_at_any_point_loses_nothing_and_doubles_nothing() {
    for blow in Blow::ALL {
        let mut at = 0;
        loop {
            let mut world = six();
            world.plan(at, blow);
            world.run();
            world.check_all_delivered();
            if !world.was_struck() {
                break;
            }
            at += 1;
        }
        assert!(at > 20, "{blow:?} struck {at} times");
    }
}

#[test]
fn two_blows_in_any_distance_lose_nothing_and_double_nothing() {
    for first in Blow::ALL {
        for second in Blow::ALL {
            for at in 0..25 {
                for distance in 0..12 {
                    let mut world = World::new();
                    for n in 0..2 {
                        world.request(&format!("c{n}"), "Device/chem", n);
                    }
                    world.plan(at, first);
                    world.plan(at + 1 + distance, second);
                    world.run();
                    world.check_all_delivered();
                }
            }
        }
    }
}

#[test]
fn a_cloud_that_is_away_for_an_hour_changes_nothing_but_the_time() {
    let mut world = six();
    world.cloud_away(Duration::from_hours(1));
    world.run();
    world.check_all_delivered();
}

#[test]
fn many_tasks_of_one_device_go_in_order_over_many_pages() {
    let mut world = World::new();
    for n in 0..700 {
        // Many in the same moment: their ids decide.
        world.request(&format!("t{n:03}"), "Device/chem", n / 90);
    }
    world.run();
    world.check_all_delivered();
}

#[test]
fn a_device_that_is_away_gets_no_more_claimed_than_it_may_and_holds_up_nobody() {
    let mut world = World::new();
    for n in 0..100 {
        world.request(&format!("c{n:03}"), "Device/chem", n);
        world.request(&format!("h{n:03}"), "Device/hema", n);
    }
    world.away("Device/chem");
    world.run_for(Duration::from_mins(5));
    assert_eq!(world.delivered("Device/hema").len(), 100);
    assert_eq!(world.count(Status::Accepted), AHEAD);
    world.back("Device/chem");
    world.run();
    world.check_all_delivered();
}

#[test]
fn a_task_that_somebody_else_claims_first_is_withdrawn_unsent() {
    let mut world = six();
    world.before_claim("c1", |task| task.status = Status::Accepted);
    world.run();
    assert_eq!(world.delivered("Device/chem"), ["c0", "c2"]);
    assert_eq!(world.fates("c1"), [Fate::Cancelled]);
    assert_eq!(world.status("c1"), Status::Accepted);
}

#[test]
fn a_task_that_changes_before_the_claim_is_taken_anew_and_keeps_its_place() {
    let mut world = six();
    world.before_claim("c1", |_| {});
    world.run();
    world.check_all_delivered();
    assert_eq!(world.fates("c1"), [Fate::Cancelled, Fate::Delivered]);
}

#[test]
fn what_the_cloud_cancels_is_withdrawn_if_it_has_not_left() {
    let mut world = six();
    world.away("Device/chem");
    world.run_for(Duration::from_mins(2));
    world.edit("c1", |task| task.status = Status::Cancelled);
    world.run_for(Duration::from_mins(2));
    world.back("Device/chem");
    world.run();
    assert_eq!(world.delivered("Device/chem"), ["c0", "c2"]);
    assert_eq!(world.status("c1"), Status::Cancelled);
    assert_eq!(world.fates("c1"), [Fate::Cancelled]);
}

#[test]
fn what_the_cloud_ends_too_late_tells_the_truth_all_the_same() {
    let mut world = six();
    world.before_report("c1", |task| task.status = Status::Cancelled);
    world.run();
    assert_eq!(world.status("c1"), Status::Completed);
    assert_eq!(world.delivered("Device/chem"), ["c0", "c1", "c2"]);
}

#[test]
fn what_somebody_else_completes_is_left_alone() {
    let mut world = six();
    world.before_report("c1", |task| task.status = Status::Completed);
    world.run();
    assert_eq!(world.history("c1"), ["requested", "accepted", "completed"]);
}

#[test]
fn an_uncertain_push_is_on_hold_until_a_person_knows() {
    let mut world = six();
    world.uncertain("c1");
    world.run();
    assert_eq!(world.status("c1"), Status::OnHold);
    assert_eq!(world.delivered("Device/chem"), ["c0", "c2"]);
    world.settle("c1", Fate::Delivered);
    world.run();
    assert_eq!(world.status("c1"), Status::Completed);
}

#[test]
fn an_uncertain_push_is_on_hold_also_where_the_cloud_has_cancelled_it() {
    let mut world = six();
    world.uncertain("c1");
    world.run();
    world.edit("c1", |task| task.status = Status::Cancelled);
    world.run_for(Duration::from_mins(3));
    assert_eq!(world.status("c1"), Status::OnHold);
}

#[test]
fn a_task_that_cannot_be_delivered_is_rejected_and_holds_up_nobody() {
    let mut world = six();
    world.bad("c0");
    world.run();
    assert_eq!(world.history("c0"), ["requested", "rejected"]);
    assert_eq!(world.delivered("Device/chem"), ["c1", "c2"]);
}

#[test]
fn a_task_that_the_server_lets_nobody_write_on_is_put_aside_and_said() {
    let mut world = six();
    world.unwritable("c0");
    world.run_for(Duration::from_mins(3));
    assert_eq!(world.delivered("Device/chem"), ["c1", "c2"]);
    assert_eq!(world.mailbox.summary().aside.len(), 1);
    assert_eq!(world.status("c0"), Status::Requested);
}

#[test]
fn a_task_that_is_deleted_is_withdrawn_if_it_has_not_left() {
    let mut world = six();
    world.away("Device/chem");
    world.run_for(Duration::from_mins(2));
    world.delete("c1");
    world.run_for(Duration::from_mins(2));
    world.back("Device/chem");
    world.run();
    assert_eq!(world.delivered("Device/chem"), ["c0", "c2"]);
}

#[test]
fn a_task_that_is_requested_again_is_a_push_of_its_own() {
    let mut world = six();
    world.run();
    world.edit("c1", |task| task.status = Status::Requested);
    world.run_for(Duration::from_mins(2));
    assert_eq!(world.delivered("Device/chem"), ["c0", "c1", "c2", "c1"]);
    assert_eq!(world.status("c1"), Status::Completed);
}

#[test]
fn a_claim_without_a_record_here_is_on_hold() {
    let mut world = six();
    world.away("Device/chem");
    world.run_for(Duration::from_mins(2));
    world.lose_the_store();
    world.run_for(Duration::from_mins(2));
    assert_eq!(world.status("c0"), Status::OnHold);
    assert!(world.delivered("Device/chem").is_empty());
}

#[test]
fn an_agent_that_is_off_claims_nothing_and_still_tells() {
    let mut world = six();
    world.away("Device/chem");
    world.run_for(Duration::from_mins(2));
    world.request("c9", "Device/chem", 9);
    world.input(Input::Access(Access::Reports));
    world.back("Device/chem");
    world.run();
    assert_eq!(world.delivered("Device/chem"), ["c0", "c1", "c2"]);
    assert_eq!(world.status("c2"), Status::Completed);
    assert_eq!(world.status("c9"), Status::Requested);
}

#[test]
fn a_nudge_finds_at_once_what_a_timer_finds_within_a_minute() {
    let mut world = six();
    world.run();
    world.run_for(Duration::from_secs(1));
    let before = world.now();
    world.request("c9", "Device/chem", 9);
    world.input(Input::Nudge);
    world.run();
    assert_eq!(world.delivered("Device/chem").len(), 4);
    assert_eq!(world.now(), before, "no time has passed");
    world.request("c10", "Device/chem", 10);
    world.run_for(Duration::from_mins(1));
    assert_eq!(world.delivered("Device/chem").len(), 5);
}

#[test]
fn nudges_without_an_end_keep_nothing_from_being_done() {
    let mut world = six();
    world.nudged_all_the_time();
    world.run_for(Duration::from_secs(20));
    world.check_all_delivered();
}
