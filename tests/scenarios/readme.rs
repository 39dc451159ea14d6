//! The README's first push, run as it stands.

use std::path::Path;
use std::process::Command;

/// Runs the blocks in one shell. Only the folder is another one, so that a reader's own try is not touched, and the build
/// is left out, because it is done; whatever the blocks leave running ends with the shell.
#[test]
fn the_first_push_of_the_readme_works_as_written() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(top.join("README.md")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let blocks = blocks(&readme)
        .replace("/tmp/wardpost", folder.path().to_str().unwrap())
        .replace("cargo build --workspace\n", "");
    let script = format!("set -eu\ntrap 'kill $(jobs -p)' EXIT\n{blocks}");
    let shell = Command::new("bash")
        .args(["-c", &script])
        .current_dir(top)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&shell.stdout),
        String::from_utf8_lossy(&shell.stderr),
    );
    assert!(shell.status.success(), "{out}\n{err}");
    for word in [
        "MSA|AA|ORD-1-1",
        "chem-1",
        "push 1 for chem-1 is delivered (accepted)",
    ] {
        assert!(out.contains(word), "no {word} in:\n{out}\n{err}");
    }
}

/// The blocks of shell in the section about the first push.
fn blocks(readme: &str) -> String {
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("Your first push"));
    let section = section.expect("the README has its section about the first push");
    section
        .split("```sh\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect()
}
