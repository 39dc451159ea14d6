//! The README's first push and first order, run as they stand.

use std::path::Path;
use std::process::Command;

/// Runs the blocks in one shell. Only the folder is another one, so that a reader's own try is not touched, and the build
/// is left out, because it is done; whatever the blocks leave running ends with the shell.
#[test]
fn the_first_push_and_the_first_order_of_the_readme_work_as_written() {
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
        "push 2 for chem-1 is delivered (accepted)",
    ] {
        assert!(out.contains(word), "no {word} in:\n{out}\n{err}");
    }
}

/// The blocks of shell in the sections about them.
fn blocks(readme: &str) -> String {
    let sections = ["Your first push", "From a ServiceRequest"].map(|title| {
        let mut sections = readme.split("\n## ");
        let section = sections.find(|section| section.starts_with(title));
        section.expect("the README has this section")
    });
    let blocks = sections
        .iter()
        .flat_map(|section| section.split("```sh\n").skip(1));
    blocks.filter_map(|rest| rest.split("```").next()).collect()
}
