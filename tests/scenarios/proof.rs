//! The harnesses run, and find nothing.

use std::process::Command;

use scenarios::bench::run;

#[test]
fn killing_the_agent_again_and_again_breaks_no_promise() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardpost-kill"));
    let ran = run(command.args(["--cycles", "25"])).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.said());
}

#[test]
fn the_benchmark_measures_and_the_agent_makes_no_mistake_under_load() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wardpost-bench"));
    let ran = run(command.arg("--quick")).unwrap();
    assert_eq!(ran.code, 0, "{}", ran.said());
    assert!(ran.stdout.contains("| 128 | 16 |"), "{}", ran.stdout);
}
