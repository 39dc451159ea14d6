//! `cargo xtask tidy`: the rules that no compiler holds.
//!
//! `crates` reads who depends on whom from cargo, `text` reads the project's files line by line.
//! Each finding says where it is and what to do about it.

mod crates;
mod text;

use std::fmt;
use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{cargo, output, root};

/// Prints what is wrong, and fails if anything is.
pub(crate) fn command() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => println!("tidy: nothing to do"),
        count => bail!("tidy: {count} to put right"),
    }
    Ok(())
}

/// Something that breaks a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Finding {
    path: String,
    line: usize,
    words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.words)
    }
}

fn findings() -> Result<Vec<Finding>> {
    let metadata = output(&mut cargo(&[
        "metadata",
        "--locked",
        "--format-version",
        "1",
    ]))?;
    let mut findings = crates::check(&metadata)?;
    let files = files()?;
    if !files.iter().any(|path| path == CHANGES) {
        let words = "there is none; begin one with a section `## Unreleased`".into();
        findings.push(Finding {
            path: CHANGES.into(),
            line: 1,
            words,
        });
    }
    for path in files {
        // A file that is no text, or that was removed and not yet committed, has no lines to read.
        if let Ok(content) = fs::read_to_string(root().join(&path)) {
            findings.extend(text::check(&path, &content));
        }
    }
    let [manifest, reasons] = [MANIFEST, REASONS].map(|path| fs::read_to_string(root().join(path)));
    findings.extend(unexplained(&manifest?, &reasons?));
    Ok(findings)
}

const CHANGES: &str = "CHANGELOG.md";
const MANIFEST: &str = "Cargo.toml";
const REASONS: &str = "docs/decisions/0001-dependencies.md";

/// Finds dependencies of which nobody has said what they save us.
fn unexplained(manifest: &str, reasons: &str) -> Vec<Finding> {
    let lines = manifest.lines().enumerate();
    let after_heading = lines
        .skip_while(|(_, line)| *line != "[workspace.dependencies]")
        .skip(1);
    let section = after_heading.take_while(|(_, line)| !line.starts_with('['));
    let is_name = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let explained: Vec<&str> = reasons.split(|c| !is_name(c)).collect();
    let finding = |(at, line): (usize, &str)| {
        let (name, value) = line.split_once(" = ")?;
        let is_ours = value.contains("path = ");
        let words =
            format!("nobody says what {name} saves us; add a line to {REASONS}, or remove it");
        let finding = Finding {
            path: MANIFEST.into(),
            line: at + 1,
            words,
        };
        (!is_ours && !explained.contains(&name)).then_some(finding)
    };
    section.filter_map(finding).collect()
}

/// Names every file that is, or could be, committed.
fn files() -> Result<Vec<String>> {
    let words = [
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "-z",
    ];
    let names = output(Command::new("git").args(words).current_dir(root()))?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_dependency_is_explained() {
        let manifest = "[workspace]\n[workspace.dependencies]\nours = { path = \"ours\" }\na = \"1\"\nb-c = \"1\"\n[profile.dev]\nd = 1\n";
        assert!(super::unexplained(manifest, "| a, b-c | much |").is_empty());
        let found = super::unexplained(manifest, "| a | much |");
        assert!(
            matches!(&found[..], [one] if one.line == 5 && one.words.contains("b-c")),
            "{found:?}"
        );
    }

    #[test]
    fn the_project_is_tidy() {
        let findings = super::findings().unwrap();
        let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(lines.is_empty(), "\n{}", lines.join("\n"));
    }
}
