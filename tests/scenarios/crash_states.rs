//! The power goes: whatever part of the unsynced writes a disk keeps, every promise that was heard outside is on it.

use std::io::Write;
use std::sync::LazyLock;

use rand::SeedableRng;
use rand::rngs::StdRng;
use scenarios::crash::disk::{Disk, Keeps, Syncs};
use scenarios::crash::record::Event;
use scenarios::crash::revive::revive;
use scenarios::crash::states::{Options, Report, judge};
use scenarios::crash::{Recording, record};

/// Recorded once for all these tests.
static RECORDING: LazyLock<Recording> =
    LazyLock::new(|| record(PUSHES).expect("the run is recorded"));

const PUSHES: usize = 960;
const STATES: usize = 2_000;
const REVIVED: u64 = 24;
const SEED: u64 = 0x5741_5244;

fn judged(states: usize, syncs: Syncs) -> Report {
    let options = Options {
        states,
        seed: SEED,
        syncs,
        at_once: 2,
    };
    judge(&RECORDING, &options).expect("the states are judged")
}

#[test]
fn no_power_cut_breaks_a_promise() {
    let report = judged(STATES, Syncs::Work);
    // To the terminal, past the test's own silence, for the record.
    let _ = writeln!(std::io::stderr(), "{report}");
    assert!(report.wrongs.is_empty(), "{:#?}", report.wrongs);
    assert!(report.promises > STATES * 100, "{report}");
}

#[test]
fn a_disk_whose_syncs_do_nothing_breaks_promises() {
    let report = judged(100, Syncs::Lie);
    assert!(report.wrongs.len() > 50, "{report}");
}

#[test]
fn the_record_rebuilds_the_files_byte_for_byte() {
    let mut disk = Disk::default();
    for event in &RECORDING.events {
        disk.take(event, Syncs::Work);
    }
    let copied =
        |event: &&Event| matches!(event, Event::SyncEnded { file } if file == "wardpost.db");
    let checkpoints = RECORDING.events.iter().filter(copied).count();
    assert!(checkpoints > 4, "the log was copied {checkpoints} times");
    let image = disk.image(Keeps::Everything, &mut StdRng::seed_from_u64(SEED));
    for (name, bytes) in &RECORDING.left {
        assert!(image.get(name) == Some(bytes), "{name} differs");
    }
}

#[test]
fn an_agent_on_what_a_power_cut_left_finishes_everything() {
    let wrongs: Vec<String> = (0..REVIVED)
        .flat_map(|nth| revive(&RECORDING, SEED + nth).expect("the agent lives again"))
        .collect();
    let broken = wrongs.len();
    let _ = writeln!(
        std::io::stderr(),
        "power cuts: {REVIVED} agents started on what was left and finished; {broken} promises broken"
    );
    assert!(wrongs.is_empty(), "{wrongs:#?}");
}
