//! Configuration files as a stranger may see them.
//!
//! A secret that somebody pasted into a file cannot be told from a setting by its looks. So nothing is hidden for what it
//! looks like; what is shown are the values of keys that the agent knows, none of which is a secret, and of a file with a
//! mistake nothing but the mistakes.

use std::path::Path;

use serde::Serialize;
use toml::de::{DeTable, DeValue};

use super::files::{FileText, Paths, Texts, read_settings};
use super::notes::{Notes, path_of};
use super::problem::Problem;
use super::{check, devices};

/// What is left of a file.
#[derive(Debug, Serialize)]
pub struct Shown {
    file: String,
    /// Each as `table.key = value`; none if the file has a mistake.
    settings: Vec<String>,
    problems: Vec<String>,
}

/// All files of the configuration as they are on the disk.
pub fn shown(paths: &Paths) -> Vec<Shown> {
    let texts = Texts::read(paths);
    let (settings, _) = read_settings(&texts.config);
    let defaults = devices::Defaults {
        delivery: &settings.delivery,
        limits: &settings.limits,
    };
    let own = Shown::of(&texts.config, |file, text| check::read(file, text).1);
    let device = |file| Shown::of(file, |file, text| devices::read(file, text, defaults).1);
    let devices = match &texts.devices {
        Ok(files) => files.iter().map(device).collect(),
        Err(problem) => vec![Shown::broken(&paths.devices, problem)],
    };
    [own].into_iter().chain(devices).collect()
}

impl Shown {
    fn of(read: &FileText, notes: impl FnOnce(&Path, &str) -> Notes) -> Self {
        let file = &read.file;
        let text = match &read.text {
            Ok(text) => text,
            Err(problem) => return Self::broken(file, problem),
        };
        let notes = notes(file, text);
        let known = notes.known().collect();
        let problems = notes.into_problems();
        let settings = if problems.iter().any(Problem::is_error) {
            Vec::new()
        } else {
            settings(text, known, file.parent().unwrap_or(Path::new("")))
        };
        Self {
            file: file.display().to_string(),
            settings,
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }

    fn broken(file: &Path, problem: &Problem) -> Self {
        Self {
            file: file.display().to_string(),
            settings: Vec::new(),
            problems: vec![problem.to_string()],
        }
    }
}

fn settings(text: &str, known: Vec<(&'static str, &'static str)>, folder: &Path) -> Vec<String> {
    let Ok(root) = DeTable::parse(text) else {
        return Vec::new();
    };
    let written = |(table, key)| {
        let within = match table {
            "" => root.get_ref(),
            table => find(root.get_ref(), table)?.as_table()?,
        };
        let value = shown_value(key, find(within, key)?, folder)?;
        Some(format!("{} = {value}", path_of(table, key)))
    };
    known.into_iter().filter_map(written).collect()
}

fn find<'a>(table: &'a DeTable<'_>, key: &str) -> Option<&'a DeValue<'a>> {
    let mut entries = table.iter();
    let (_, value) = entries.find(|(written, _)| written.get_ref() == key)?;
    Some(value.get_ref())
}

/// A value as it would be written; a table has none.
fn shown_value(key: &str, value: &DeValue<'_>, folder: &Path) -> Option<String> {
    Some(match value {
        DeValue::Table(_) => return None,
        DeValue::String(text) => shown_text(key, text, folder),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Array(items) => {
            let item = |item| shown_value(key, item, folder);
            let items: Vec<String> = items
                .iter()
                .filter_map(|spanned| item(spanned.get_ref()))
                .collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Float(_) | DeValue::Datetime(_) => HIDDEN.to_owned(),
    })
}

fn shown_text(key: &str, text: &str, folder: &Path) -> String {
    // What names no file may be what should be in it.
    let misplaced = key.ends_with("_file") && !folder.join(text).is_file();
    if misplaced || text.contains(char::is_control) || text.chars().count() > LONGEST {
        return HIDDEN.to_owned();
    }
    format!("{:?}", without_user(text))
}

/// Hides user and password of a url.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://[hidden]@{host}{behind}"),
        None => text.to_owned(),
    }
}

const HIDDEN: &str = "[hidden]";
/// A longer text is no name, address or path that helps anybody.
const LONGEST: usize = 200;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const CLOUD: &str =
        "[cloud]\nurl = \"https://api.example.org/\"\nagent = \"a-1\"\nclient = \"c-1\"\n";

    /// All that is shown of a `wardpost.toml` and of a device file.
    fn seen(config: &str, device: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::new(folder.path().join("wardpost.toml"), None);
        fs::create_dir(&paths.devices).unwrap();
        fs::write(&paths.config, config).unwrap();
        fs::write(paths.devices.join("chem.toml"), device).unwrap();
        serde_json::to_string(&shown(&paths)).unwrap()
    }

    #[test]
    fn settings_that_are_known_are_shown_and_comments_are_not() {
        let config = format!(
            "# s3cr3t\n{CLOUD}commands = [\"status\"] # s3cr3t\n[log]\nlevel = \"debug\"\n"
        );
        let device = "name = \"chem\"\nurl = \"mllp://me:s3cr3t@10.0.0.7:2575\"\n[hl7]\nmax_message = 2_048\n";
        let seen = seen(&config, device);
        for part in [
            r#"cloud.url = \"https://api.example.org/\""#,
            r#"cloud.commands = [\"status\"]"#,
            r#"log.level = \"debug\""#,
            r#"url = \"mllp://[hidden]@10.0.0.7:2575\""#,
            "hl7.max_message = 2",
        ] {
            assert!(seen.contains(part), "{part} in {seen}");
        }
        assert!(!seen.contains("s3cr3t"), "{seen}");
    }

    #[test]
    fn a_secret_is_not_shown_however_it_came_into_a_file() {
        for pasted in [
            "client_secret = \"s3cr3t\"",
            "client_secret = '''\ns3cr3t\n'''",
            "client_key = \"\"\"-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----\"\"\"",
            "client_secret_file = \"s3cr3t\"",
            "receipts = \"\"\"\n-----BEGIN PRIVATE KEY-----\ns3cr3t\n\"\"\"",
            "proxy = \"http://s3cr3t@proxy:3128\"",
            "s3cr3t",
            "-----BEGIN PRIVATE KEY-----\ns3cr3t\n-----END PRIVATE KEY-----",
            "[tls]\nclient_key = \"s3cr3t\"",
        ] {
            let config = format!("{CLOUD}{pasted}\n");
            let device = format!("name = \"chem\"\nurl = \"mllps://10.0.0.7:2575\"\n{pasted}\n");
            let seen = seen(&config, &device);
            assert!(!seen.contains("s3cr3t"), "{pasted} in {seen}");
            assert!(seen.contains("chem.toml"), "{seen}");
        }
        let inline = "cloud = { url = \"https://api.example.org/\", client_secret = \"s3cr3t\" }\n";
        assert!(!seen(inline, "").contains("s3cr3t"));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_why() {
        let paths = Paths::new("/nowhere/wardpost.toml".into(), None);
        let seen = serde_json::to_string(&shown(&paths)).unwrap();
        assert!(seen.contains("cannot be read"), "{seen}");
    }
}
