//! `cargo xtask test`: everything that must hold before a change lands.
//!
//! A part that fails is reported and the others still run; only what needs the binaries is skipped when they do not build.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::run::{cargo, run};
use crate::{bench, demo, fuzz, kill, setup, supply, systemd, tidy};

/// Runs every part, prints how long each took, and fails if one failed.
pub(crate) fn all() -> Result<()> {
    let mut results: Vec<(&Part, Fate, Duration)> = Vec::new();
    for part in PARTS {
        println!("\n== {}", part.name);
        let start = Instant::now();
        let fate = part.play(
            results
                .iter()
                .any(|(part, fate, _)| part.name == BUILD && *fate != Fate::Passed),
        );
        results.push((part, fate, start.elapsed()));
    }
    report(&results)
}

struct Part {
    name: &'static str,
    needs_binaries: bool,
    run: fn() -> Result<()>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    Failed,
    Skipped,
}

const BUILD: &str = "build";

const PARTS: &[Part] = &[
    Part {
        name: "setup",
        needs_binaries: false,
        run: setup::everything,
    },
    Part {
        name: "format",
        needs_binaries: false,
        run: format,
    },
    Part {
        name: "clippy",
        needs_binaries: false,
        run: clippy,
    },
    Part {
        name: "docs",
        needs_binaries: false,
        run: docs,
    },
    Part {
        name: "tidy",
        needs_binaries: false,
        run: tidy::command,
    },
    Part {
        name: "deny",
        needs_binaries: false,
        run: supply::deny,
    },
    Part {
        name: BUILD,
        needs_binaries: false,
        run: build,
    },
    Part {
        name: "tests",
        needs_binaries: true,
        run: tests,
    },
    Part {
        name: "kill, 25 cycles",
        needs_binaries: true,
        run: || kill::cycles(&["--cycles", "25"]),
    },
    Part {
        name: "kill, 15 faulty",
        needs_binaries: true,
        run: || kill::cycles(&["--cycles", "15", "--faults"]),
    },
    Part {
        name: "kill, mailbox",
        needs_binaries: true,
        run: || kill::cycles(&["--mailbox", "--cycles", "10", "--tasks", "300"]),
    },
    Part {
        name: "kill, story",
        needs_binaries: true,
        run: || kill::cycles(&["--story", "--cycles", "10"]),
    },
    Part {
        name: "fuzz, briefly",
        needs_binaries: true,
        run: fuzz::briefly,
    },
    Part {
        name: "bench, smoke",
        needs_binaries: true,
        run: bench::smoke,
    },
    Part {
        name: "demo, once",
        needs_binaries: true,
        run: demo::once_as_built,
    },
    Part {
        name: "systemd",
        needs_binaries: true,
        run: systemd::as_built,
    },
];

impl Part {
    fn play(&self, without_binaries: bool) -> Fate {
        if self.needs_binaries && without_binaries {
            println!("skipped: the build failed");
            return Fate::Skipped;
        }
        let Err(error) = (self.run)() else {
            return Fate::Passed;
        };
        eprintln!("{} failed: {error:#}", self.name);
        Fate::Failed
    }
}

fn format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    run(&mut cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    let planted = [
        "clippy",
        "--locked",
        "--package",
        "wardpost",
        "--features",
        "mutants",
        "--all-targets",
    ];
    run(cargo(&planted).args(["--", "-D", "warnings"]))
}

fn docs() -> Result<()> {
    run(cargo(&["doc", "--locked", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn build() -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--locked",
        "--workspace",
        "--all-targets",
    ]))
}

fn tests() -> Result<()> {
    run(&mut cargo(&[
        "test",
        "--locked",
        "--workspace",
        "--no-fail-fast",
    ]))
}

fn report(results: &[(&Part, Fate, Duration)]) -> Result<()> {
    println!();
    for (part, fate, took) in results {
        let word = match fate {
            Fate::Passed => "passed",
            Fate::Failed => "FAILED",
            Fate::Skipped => "skipped",
        };
        println!("{:<16} {word:<8} {:>6.1} s", part.name, took.as_secs_f64());
    }
    let count = |wanted| {
        results
            .iter()
            .filter(|(_, fate, _)| *fate == wanted)
            .count()
    };
    let (passed, failed, skipped) = (
        count(Fate::Passed),
        count(Fate::Failed),
        count(Fate::Skipped),
    );
    println!("\nparts: {passed} passed, {failed} failed, {skipped} skipped");
    if failed > 0 {
        bail!("not everything passed");
    }
    Ok(())
}
