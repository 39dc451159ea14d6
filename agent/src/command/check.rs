//! `wardpost check`: every mistake of the configuration, with its place and what to do.

use std::io::{self, Write};

use clap::Args;

use super::files::FileArgs;
use crate::config::{self, Problem};

/// Flags of `wardpost check`.
#[derive(Clone, Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub files: FileArgs,
    /// Print the problems as a JSON array; the flag is that of every command.
    #[arg(skip)]
    pub json: bool,
}

/// What `check` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finding {
    /// No errors; there may be warnings.
    Good,
    Errors,
}

impl Finding {
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Good => 0,
            Self::Errors => 1,
        }
    }
}

/// Checks the configuration and writes what is wrong with it to `out`.
pub fn run(args: &CheckArgs, out: &mut impl Write) -> io::Result<Finding> {
    let paths = args.files.paths();
    let (problems, devices) = config::check(&paths);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &problems)?;
        writeln!(out)?;
    } else {
        problems
            .iter()
            .try_for_each(|problem| writeln!(out, "{problem}"))?;
        writeln!(out, "{}", summary(&problems, devices))?;
    }
    out.flush()?;
    Ok(if problems.iter().any(Problem::is_error) {
        Finding::Errors
    } else {
        Finding::Good
    })
}

fn summary(problems: &[Problem], devices: usize) -> String {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let verdict = if errors == 0 {
        "the configuration is good"
    } else {
        "the configuration has mistakes"
    };
    let [errors, warnings, devices] = [
        counted(errors, "error"),
        counted(problems.len() - errors, "warning"),
        counted(devices, "device file"),
    ];
    format!("{verdict}: {errors}, {warnings}, {devices}")
}

fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const GOOD: &str =
        "[cloud]\nurl = \"https://api.example.org/\"\nagent = \"a1\"\nclient = \"c1\"\n";

    fn checked(config: &str, json: bool) -> (String, Finding) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wardpost.toml");
        fs::write(&file, config).unwrap();
        let mut out = Vec::new();
        let finding = run(
            &CheckArgs {
                files: FileArgs {
                    config: file,
                    devices: None,
                },
                json,
            },
            &mut out,
        )
        .unwrap();
        let text = String::from_utf8(out).unwrap();
        (
            text.replace(&format!("{}/", folder.path().display()), ""),
            finding,
        )
    }

    #[test]
    fn a_good_configuration_is_said_to_be_good() {
        let (text, finding) = checked(GOOD, false);
        assert_eq!(
            text,
            "the configuration is good: 0 errors, 0 warnings, 0 device files\n"
        );
        assert_eq!(finding.exit_code(), 0);
    }

    #[test]
    fn a_warning_is_printed_and_fails_nothing() {
        let (text, finding) = checked(&GOOD.replace("https", "http"), false);
        assert_eq!(
            text,
            "wardpost.toml:2:7: warning: [cloud] url: tokens and patient data would travel in clear; write https://\n\
             the configuration is good: 0 errors, 1 warning, 0 device files\n"
        );
        assert_eq!(finding.exit_code(), 0);
    }

    #[test]
    fn a_mistake_is_printed_with_its_place_and_its_fix_and_fails() {
        let (text, finding) = checked(&format!("{GOOD}[log]\nlevle = \"info\"\n"), false);
        assert_eq!(
            text,
            "wardpost.toml:6:1: [log] levle: unknown key; did you mean level?\n\
             the configuration has mistakes: 1 error, 0 warnings, 0 device files\n"
        );
        assert_eq!(finding.exit_code(), 1);
    }

    #[test]
    fn json_lists_the_problems() {
        let (text, finding) = checked(&format!("{GOOD}[log]\nlevle = \"info\"\n"), true);
        let list: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            list,
            serde_json::json!([{
                "file": "wardpost.toml", "line": 6, "column": 1, "key": "log.levle", "severity": "error",
                "message": "unknown key", "fix": "did you mean level?",
            }])
        );
        assert_eq!(finding, Finding::Errors);
        assert_eq!(checked(GOOD, true).0, "[]\n");
    }

    #[test]
    fn a_file_that_is_not_there_is_a_mistake_too() {
        let mut out = Vec::new();
        let args = CheckArgs {
            files: FileArgs {
                config: "/nowhere/wardpost.toml".into(),
                devices: None,
            },
            json: false,
        };
        assert_eq!(run(&args, &mut out).unwrap(), Finding::Errors);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("/nowhere/wardpost.toml:1:1: cannot be read: "),
            "{text}"
        );
        assert_eq!(text.lines().count(), 2, "{text}");
    }
}
