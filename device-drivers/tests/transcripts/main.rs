//! Plays every story in `transcripts/`, on a virtual clock. The notation is in `transcripts/README.md`.

#![expect(clippy::disallowed_methods, reason = "the stories are files")]

mod player;
mod story;

use std::path::{Path, PathBuf};

use story::Story;

#[test]
fn every_story_goes_as_it_is_written() {
    let files = stories("hl7");
    assert!(files.len() >= 25, "only {} stories found", files.len());
    let failed: Vec<String> = files.iter().filter_map(|file| play(file).err()).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

fn play(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|e| e.to_string())?;
    let orders = file.with_file_name("orders");
    let order = |name: &str| std::fs::read_to_string(orders.join(format!("{name}.hl7")));
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Story::parse(&text)
        .and_then(|story| player::play(&story, &|name| order(name).map_err(|e| e.to_string())))
        .map_err(|why| format!("{name}: {why}"))
}

fn stories(protocol: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transcripts")
        .join(protocol);
    let entries = std::fs::read_dir(folder).expect("the stories are beside the tests");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut files: Vec<PathBuf> = paths.filter(|path| has_extension(path, "txt")).collect();
    files.sort();
    files
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}
