//! Configuration files as a person can get them wrong.
//!
//! Every mistake is named with its file; what `check` finds good, `load` can use.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;
use wardpost::config::{Paths, check, load};

thread_local! {
    static FOLDER: RefCell<TempDir> =
        RefCell::new(tempfile::tempdir_in("/dev/shm").expect("a folder in memory"));
}

fuzz_target!(|input: (&str, &str)| {
    let (settings, device) = input;
    FOLDER.with_borrow(|folder| {
        let file = folder.path().join("wardpost.toml");
        let devices = folder.path().join("devices.d");
        std::fs::create_dir_all(&devices).expect("a folder");
        std::fs::write(&file, format!("{GOOD}{settings}")).expect("a file");
        std::fs::write(devices.join("chem-1.toml"), device).expect("a file");
        let paths = Paths::new(file, None);
        let (problems, files) = check(&paths);
        assert_eq!(files, 1);
        let wrong = problems.iter().any(wardpost::config::Problem::is_error);
        for problem in &problems {
            assert!(problem.to_string().contains(".toml"), "{problem}");
        }
        match load(&paths) {
            Ok(loaded) => assert_eq!(wrong, !loaded.config.broken.is_empty()),
            Err(_) => assert!(wrong),
        }
    });
});

/// So that most inputs get past the keys that every site must set.
const GOOD: &str = "cloud.url = \"https://c.example/\"\ncloud.agent = \"a\"\ncloud.client = \"c\"\n";
