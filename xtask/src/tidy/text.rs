//! What may stand in which file.
//!
//! The rules read text, not syntax: comments are left out, and so are tests where a rule is about the program.

use super::Finding;

/// Checks one file, named by its path from the root.
pub(super) fn check(path: &str, content: &str) -> Vec<Finding> {
    let file = File { path, content };
    let mut findings = Vec::new();
    findings.extend(file.machine_paths());
    findings.extend(file.registries());
    findings.extend(file.unreleased());
    if is_rust(path) {
        findings.extend(file.module_comment());
        findings.extend(file.length());
        findings.extend(RULES.iter().flat_map(|rule| file.rule(rule)));
    }
    findings
}

/// Words of a program that belong to some files only.
struct Rule {
    /// Where the rule holds.
    inside: &'static str,
    words: &'static [&'static str],
    /// Folders and files that may say them.
    except: &'static [&'static str],
    /// Whether tests may, too.
    tests: Tests,
    advice: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tests {
    Free,
    Bound,
}

const RULES: &[Rule] = &[
    Rule {
        inside: "agent/src/",
        words: &[
            "Instant::now",
            "SystemTime::now",
            "Timestamp::now",
            "Zoned::now",
            "clock_gettime",
        ],
        except: &["agent/src/clock.rs"],
        tests: Tests::Free,
        advice: "only clock.rs reads a clock; ask it, or take the time as an argument",
    },
    Rule {
        inside: "agent/src/",
        words: &["rusqlite"],
        except: &["agent/src/store/"],
        tests: Tests::Bound,
        advice: "only store/ speaks SQL; add a function there that answers the question",
    },
    Rule {
        inside: "agent/src/",
        words: &["agent_wire"],
        except: &["agent/src/cloud/"],
        tests: Tests::Bound,
        advice: "only cloud/ knows the wire; translate there",
    },
    Rule {
        inside: "agent/src/",
        words: &[
            "TcpStream::connect",
            "TcpSocket::",
            "TcpListener::bind",
            "UdpSocket::bind",
            "Socket::new",
            "connect_tcp",
        ],
        except: &["agent/src/transport/", "agent/src/cloud/dial.rs"],
        tests: Tests::Free,
        advice: "only transport/ and cloud/dial.rs open sockets; ask them for a stream",
    },
    Rule {
        inside: "agent/src/",
        words: &[
            "UnixListener::bind",
            "UnixStream::connect",
            "UnixDatagram::",
        ],
        except: &["agent/src/control/", "agent/src/transport/"],
        tests: Tests::Free,
        advice: "only control/ has a local socket; ask it",
    },
    Rule {
        inside: "agent/src/",
        words: &["tokio::spawn", "task::spawn("],
        except: &["agent/src/supervisor.rs"],
        tests: Tests::Free,
        advice: "only supervisor.rs spawns tasks, so that none dies unseen; give it a unit",
    },
    Rule {
        inside: "",
        words: &["#[allow(", "#![allow("],
        except: &["xtask/src/tidy/"],
        tests: Tests::Bound,
        advice: "say `#[expect(lint, reason = \"…\")]`, which is noticed when it is no longer needed",
    },
    Rule {
        inside: "",
        words: &["#[ignore", "#[should_panic", "fn test_"],
        except: &["xtask/src/tidy/"],
        tests: Tests::Bound,
        advice: "a test is a sentence that holds, named without a prefix, and it always runs",
    },
];

const LONGEST_FILE: usize = 600;

struct File<'a> {
    path: &'a str,
    content: &'a str,
}

impl File<'_> {
    fn rule(&self, rule: &Rule) -> Vec<Finding> {
        let is_excepted = rule.except.iter().any(|place| self.path.starts_with(place));
        if !self.path.starts_with(rule.inside)
            || is_excepted
            || (is_test(self.path) && rule.tests == Tests::Free)
        {
            return Vec::new();
        }
        let last = if rule.tests == Tests::Free {
            self.program_lines()
        } else {
            usize::MAX
        };
        let lines = self.content.lines().enumerate().take(last);
        let says = |line| {
            rule.words
                .iter()
                .find(|word| contains_word(without_comment(line), word))
        };
        lines
            .filter_map(|(at, line)| {
                Some(self.at(at + 1, format!("`{}`: {}", says(line)?, rule.advice)))
            })
            .collect()
    }

    fn module_comment(&self) -> Option<Finding> {
        let first = self
            .content
            .lines()
            .find(|line| !line.trim().is_empty() && !line.starts_with("#!"));
        let starts_well = first.is_some_and(|line| line.starts_with("//!"));
        let words =
            "no module comment; begin with `//!`: what this file is for and what it refuses to do";
        // A `tests.rs` is the bottom of the file it stands beside.
        (!starts_well && !self.path.ends_with("/tests.rs")).then(|| self.at(1, words.into()))
    }

    fn length(&self) -> Option<Finding> {
        let lines = self.program_lines();
        let words =
            format!("{lines} lines without its tests; split it, {LONGEST_FILE} are the most");
        (lines > LONGEST_FILE && !is_test(self.path)).then(|| self.at(LONGEST_FILE + 1, words))
    }

    fn machine_paths(&self) -> Vec<Finding> {
        let words = [
            concat!("..", "/shared"),
            concat!("/work", "/"),
            concat!("/home", "/"),
            concat!("/root", "/."),
        ];
        let says = |line| words.iter().find(|word| contains_path(line, word));
        let lines = self.content.lines().enumerate();
        let finding = |(at, line)| {
            Some(self.at(
                at + 1,
                format!(
                    "`{}` is a place on one machine; say it without",
                    says(line)?
                ),
            ))
        };
        lines.filter_map(finding).collect()
    }

    fn registries(&self) -> Vec<Finding> {
        let Some(forbidden) = registry_words(self.path) else {
            return Vec::new();
        };
        let lines = self
            .content
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.contains(CRATES_INDEX));
        let says = |line: &str| forbidden.iter().find(|word| line.contains(**word));
        let finding = |(at, line)| {
            let word = says(line)?;
            Some(self.at(at + 1, format!("`{word}` names a registry; lock versions and hashes, let the client choose the host")))
        };
        lines.filter_map(finding).collect()
    }

    fn unreleased(&self) -> Option<Finding> {
        let has_it = self
            .content
            .lines()
            .any(|line| line.starts_with("## ") && line.contains("Unreleased"));
        let words = "no `## Unreleased` section; add one and say in it what a user will notice";
        (self.path == "CHANGELOG.md" && !has_it).then(|| self.at(1, words.into()))
    }

    /// How many lines come before the tests at the bottom.
    fn program_lines(&self) -> usize {
        let lines: Vec<&str> = self.content.lines().collect();
        let begins = |pair: &[&str]| {
            pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{')
        };
        lines.windows(2).position(begins).unwrap_or(lines.len())
    }

    fn at(&self, line: usize, words: String) -> Finding {
        Finding {
            path: self.path.into(),
            line,
            words,
        }
    }
}

/// The one registry line that is cargo's own.
const CRATES_INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What must not stand in this file, if it is one that says where packages come from.
fn registry_words(path: &str) -> Option<&'static [&'static str]> {
    match path.rsplit('/').next()? {
        "Cargo.lock" => Some(&["source = \"", "://"]),
        "package-lock.json" => Some(&["\"resolved\"", "://registry"]),
        "requirements.txt" | ".npmrc" | "pip.conf" => Some(&["://"]),
        "config.toml" if path.contains(".cargo/") => Some(&["[source", "[registries", "://"]),
        _ => None,
    }
}

fn is_rust(path: &str) -> bool {
    std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "rs")
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs")
        || path
            .split('/')
            .any(|folder| folder == "tests" || folder == "benches")
}

fn without_comment(line: &str) -> &str {
    let line = if line.trim_start().starts_with("//") {
        ""
    } else {
        line
    };
    line.split_once(" //").map_or(line, |(program, _)| program)
}

/// Whether `word` stands in `line`, not as the end of a longer name.
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |before: char| before.is_alphanumeric() || before == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_name))
}

/// Whether `path` stands in `line`, not as the middle of a longer path or address.
fn contains_path(line: &str, path: &str) -> bool {
    let is_longer = |before: char| before.is_alphanumeric() || "_-.}".contains(before);
    line.match_indices(path)
        .any(|(at, _)| !line[..at].ends_with(is_longer))
}

#[cfg(test)]
mod tests;
