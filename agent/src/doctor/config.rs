//! The files as they are on the disk, as `wardpost check` sees them.

use super::Finding;
use crate::config::{self, Paths, Problem};

pub(super) fn look(paths: &Paths) -> Finding {
    let (problems, devices) = config::check(paths);
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let warnings = problems.len() - errors;
    let counted = format!("{errors} errors, {warnings} warnings, {devices} device files");
    let Some(first) = problems
        .iter()
        .max_by_key(|problem| Problem::is_error(problem))
    else {
        return Finding::good(FILES, counted);
    };
    let words = [
        format!("{counted}; the first of them: {first}"),
        "`wardpost check` lists them all".to_owned(),
    ];
    if errors > 0 {
        Finding::wrong(FILES, words)
    } else {
        Finding::warning(FILES, words)
    }
}

const FILES: (&str, &str) = ("configuration", "files");
