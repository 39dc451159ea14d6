//! The good copy: the files of the last configuration that was applied, kept in the state directory for a start at which
//! `wardpost.toml` cannot be used.
//!
//! `good-config.json`, mode 0600, replaced as a whole:
//!
//! | member | what |
//! | --- | --- |
//! | `applied` | when, in milliseconds of UTC |
//! | `config` | path and text of `wardpost.toml` |
//! | `devices` | path and text of every device file; of one whose device is off for its mistakes only the path |
//!
//! A file that holds a secret is refused, and the text of a refused file is not kept. Its path is: that there is such a
//! file decides what may be done without it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use agent_core::push::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{FileText, Folder, Loaded, Texts};
use super::problem::Problem;

/// A configuration that was applied, and when.
#[derive(Clone, Debug)]
pub struct GoodCopy {
    pub applied: Timestamp,
    pub texts: Texts,
}

/// Why there is no good copy, though there is a file.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot read the copy of the last configuration, {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("the copy of the last configuration, {path}, is no such copy")]
    Unreadable {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot keep a copy of the configuration as {path}")]
    Write { path: PathBuf, source: io::Error },
}

#[derive(Serialize, Deserialize)]
struct Kept {
    applied: i64,
    config: KeptFile,
    devices: Vec<KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    path: PathBuf,
    text: Option<String>,
}

impl GoodCopy {
    /// The copy of what was applied.
    pub fn of(applied: Timestamp, loaded: Loaded) -> Self {
        let mut texts = loaded.texts;
        let broken = loaded.config.broken;
        for file in texts.devices.iter_mut().flatten() {
            if broken.iter().any(|broken| broken.file == file.file) {
                file.text = Err(was_off(&file.file));
            }
        }
        Self { applied, texts }
    }

    /// The copy in this state directory, `None` if there is none yet.
    pub fn find(state: &Path) -> Result<Option<Self>, CopyError> {
        let path = state.join(NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CopyError::Read { path, source }),
        };
        match serde_json::from_slice::<Kept>(&bytes) {
            Ok(kept) => Ok(Some(kept.into())),
            Err(source) => Err(CopyError::Unreadable { path, source }),
        }
    }

    /// Replaces the copy in this state directory. After an error or a power cut it is the old one or the new one.
    pub fn keep(&self, state: &Path) -> Result<(), CopyError> {
        let path = state.join(NAME);
        let replace = |kept: Kept| {
            write(&state.join(BESIDE), &serde_json::to_vec_pretty(&kept)?)?;
            fs::rename(state.join(BESIDE), &path)?;
            File::open(state)?.sync_all()
        };
        replace(self.kept()).map_err(|source| CopyError::Write {
            path: path.clone(),
            source,
        })
    }

    fn kept(&self) -> Kept {
        let devices = self.texts.devices.iter().flatten();
        Kept {
            applied: self.applied.0,
            config: KeptFile::of(&self.texts.config),
            devices: devices.map(KeptFile::of).collect(),
        }
    }
}

impl KeptFile {
    fn of(file: &FileText) -> Self {
        Self {
            path: file.file.clone(),
            text: file.text.as_ref().ok().cloned(),
        }
    }
}

fn was_off(file: &Path) -> Problem {
    let message = "could not be used when this copy of the configuration was made";
    let fix = "correct it and wardpost.toml, then `wardpost reload`";
    Problem::with_file(file.to_owned(), message.to_owned(), fix)
}

impl From<Kept> for GoodCopy {
    fn from(kept: Kept) -> Self {
        let file = |kept: KeptFile| FileText {
            text: kept.text.ok_or_else(|| was_off(&kept.path)),
            file: kept.path,
        };
        Self {
            applied: Timestamp(kept.applied),
            texts: Texts {
                config: file(kept.config),
                devices: Ok(kept.devices.into_iter().map(file).collect()),
                folder: Folder::There,
            },
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

const NAME: &str = "good-config.json";
const BESIDE: &str = "good-config.json.new";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::{Paths, load, load_texts};

    const AGENT: &str =
        "[cloud]\nurl = \"https://api.example.org\"\nagent = \"a-1\"\nclient = \"c-1\"\n";

    #[test]
    fn what_was_applied_is_found_again_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("wardpost.toml"), None);
        fs::create_dir(&paths.devices).unwrap();
        fs::write(&paths.config, AGENT).unwrap();
        let chem = "name = \"chem\"\nurl = \"mllp://10.0.0.7:2575\"\n";
        fs::write(paths.devices.join("chem.toml"), chem).unwrap();
        let bad = "name = \"bad\"\n[tls]\nclient_key = \"s3cr3t\"\n";
        fs::write(paths.devices.join("bad.toml"), bad).unwrap();
        let applied = GoodCopy::of(Timestamp(17), load(&paths).unwrap());
        assert!(GoodCopy::find(folder.path()).unwrap().is_none());
        applied.keep(folder.path()).unwrap();
        applied.keep(folder.path()).unwrap();
        fs::remove_file(&paths.config).unwrap();
        let found = GoodCopy::find(folder.path()).unwrap().unwrap();
        assert_eq!(found.applied, Timestamp(17));
        let config = load_texts(found.texts).unwrap().config;
        assert_eq!(config.devices.len(), 1);
        assert_eq!(config.broken.len(), 1, "what was off stays off");
        let copy = fs::read_to_string(folder.path().join(NAME)).unwrap();
        assert!(!copy.contains("s3cr3t"), "{copy}");
        let mode = fs::metadata(folder.path().join(NAME))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        assert!(!folder.path().join(BESIDE).exists());
    }

    #[test]
    fn a_file_that_is_no_copy_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "{\"applied\": 1").unwrap();
        let error = GoodCopy::find(folder.path()).unwrap_err();
        assert!(error.to_string().contains("is no such copy"), "{error}");
    }
}
