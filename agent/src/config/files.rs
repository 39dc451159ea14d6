//! The files themselves: finding them, reading them, and what a bad one means.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::check::{self, Settings};
use super::delivery::Delivery;
use super::devices::{self, Claims, Defaults, Sheet};
use super::problem::{self, Problem};
use super::values::Found;
use super::{Broken, Config, DeviceConfig, clash};

/// Where the configuration is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Paths {
    /// `wardpost.toml`.
    pub config: PathBuf,
    /// The folder of the device files.
    pub devices: PathBuf,
}

impl Paths {
    /// The device files are in `devices.d` beside the configuration, unless told otherwise.
    pub fn new(config: PathBuf, devices: Option<PathBuf>) -> Self {
        let beside = || config.parent().unwrap_or(Path::new("")).join("devices.d");
        Self {
            devices: devices.unwrap_or_else(beside),
            config,
        }
    }
}

/// A configuration that can be used, and what to tell people about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    /// Of the files that are used; those of broken ones are with them.
    pub warnings: Vec<Problem>,
    /// What was read.
    pub texts: Texts,
}

/// The text of every file, or why it could not be read.
#[derive(Clone, Debug)]
pub struct Texts {
    pub(super) config: FileText,
    pub(super) devices: Result<Vec<FileText>, Problem>,
    pub folder: Folder,
}

/// One file, and what it says or why that is not known.
#[derive(Clone, Debug)]
pub(super) struct FileText {
    pub(super) file: PathBuf,
    pub(super) text: Result<String, Problem>,
}

/// Whether the folder of the device files is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Folder {
    There,
    Missing,
}

/// One device file after reading.
struct DeviceFile {
    file: PathBuf,
    sheet: Sheet,
    problems: Vec<Problem>,
}

/// Everything that was read.
struct All {
    settings: Settings,
    /// Of `wardpost.toml` and of the folder.
    problems: Vec<Problem>,
    devices: Vec<DeviceFile>,
}

/// Loads at start: a bad device file disables its device, a bad `wardpost.toml` is an error.
pub fn load(paths: &Paths) -> Result<Loaded, Vec<Problem>> {
    load_texts(Texts::read(paths))
}

/// The same with texts that were read before.
pub fn load_texts(texts: Texts) -> Result<Loaded, Vec<Problem>> {
    let mut all = All::of(&texts);
    let cloud = all.settings.cloud.take();
    if all.problems.iter().any(Problem::is_error) {
        return Err(all.into_problems());
    }
    let Some(cloud) = cloud else {
        return Err(all.into_problems());
    };
    let mut warnings = all.problems;
    let mut devices = Vec::new();
    let mut broken = Vec::new();
    for device in all.devices {
        match device.judge() {
            Ok((config, found)) => {
                devices.push(config);
                warnings.extend(found);
            }
            Err(file) => broken.push(*file),
        }
    }
    let Settings {
        unmapped,
        delivery,
        limits,
        alarms,
        retention,
        level,
        ..
    } = all.settings;
    let unmapped_policy = delivery.policy(&Delivery::default(), limits.max_queued);
    let config = Config {
        cloud,
        unmapped,
        limits,
        alarms,
        retention,
        level,
        unmapped_policy,
        devices,
        broken,
    };
    Ok(Loaded {
        config,
        warnings,
        texts,
    })
}

/// Loads anew while running: all or nothing.
pub fn reload(paths: &Paths) -> Result<Loaded, Vec<Problem>> {
    let loaded = load(paths)?;
    if loaded.config.broken.is_empty() {
        return Ok(loaded);
    }
    let broken = loaded
        .config
        .broken
        .into_iter()
        .flat_map(|broken| broken.problems);
    let mut problems: Vec<_> = broken.chain(loaded.warnings).collect();
    problem::sort(&mut problems);
    Err(problems)
}

/// Finds everything that is wrong, in order of file and line, and counts the device files.
pub fn check(paths: &Paths) -> (Vec<Problem>, usize) {
    let all = All::of(&Texts::read(paths));
    let devices = all.devices.len();
    (all.into_problems(), devices)
}

impl Texts {
    /// Device files.
    pub fn count(&self) -> usize {
        self.devices.as_ref().map_or(0, Vec::len)
    }

    pub(super) fn read(paths: &Paths) -> Self {
        let folder = match paths.devices.try_exists() {
            Ok(false) => Folder::Missing,
            Ok(true) | Err(_) => Folder::There,
        };
        let read = |files: Vec<PathBuf>| files.into_iter().map(FileText::read).collect();
        Self {
            config: FileText::read(paths.config.clone()),
            devices: device_files(&paths.devices).map(read),
            folder,
        }
    }
}

impl FileText {
    fn read(file: PathBuf) -> Self {
        Self {
            text: read_text(&file),
            file,
        }
    }
}

impl All {
    fn of(texts: &Texts) -> Self {
        let (settings, mut problems) = read_settings(&texts.config);
        let files = match &texts.devices {
            Ok(files) => files.as_slice(),
            Err(problem) => {
                problems.push(problem.clone());
                &[]
            }
        };
        let defaults = Defaults {
            delivery: &settings.delivery,
            limits: &settings.limits,
        };
        let mut devices: Vec<_> = files
            .iter()
            .map(|file| DeviceFile::read(file, defaults))
            .collect();
        add_clashes(&mut devices);
        add_surplus(&mut devices, settings.limits.max_devices);
        Self {
            settings,
            problems,
            devices,
        }
    }

    fn into_problems(self) -> Vec<Problem> {
        let devices = self.devices.into_iter().flat_map(|device| device.problems);
        let mut problems: Vec<_> = self.problems.into_iter().chain(devices).collect();
        problem::sort(&mut problems);
        problems
    }
}

impl DeviceFile {
    fn read(read: &FileText, defaults: Defaults<'_>) -> Self {
        let file = read.file.clone();
        match &read.text {
            Ok(text) => {
                let (sheet, notes) = devices::read(&file, text, defaults);
                Self {
                    file,
                    sheet,
                    problems: notes.into_problems(),
                }
            }
            Err(problem) => {
                let sheet = Sheet {
                    claims: Claims::default(),
                    device: None,
                };
                Self {
                    file,
                    sheet,
                    problems: vec![problem.clone()],
                }
            }
        }
    }

    /// The device and its warnings, or why it is off.
    fn judge(mut self) -> Result<(DeviceConfig, Vec<Problem>), Box<Broken>> {
        problem::sort(&mut self.problems);
        match self.sheet.device {
            Some(device) if !self.problems.iter().any(Problem::is_error) => {
                Ok((device, self.problems))
            }
            Some(_) | None => Err(Box::new(Broken {
                file: self.file,
                name: self.sheet.claims.name.map(|found| found.value),
                address: self.sheet.claims.address,
                aliases: self
                    .sheet
                    .claims
                    .aliases
                    .into_iter()
                    .map(Found::into_value)
                    .collect(),
                problems: self.problems,
            })),
        }
    }
}

pub(super) fn read_settings(read: &FileText) -> (Settings, Vec<Problem>) {
    let file = &read.file;
    match &read.text {
        Ok(text) => {
            let (settings, notes) = check::read(file, text);
            (settings, notes.into_problems())
        }
        Err(problem) => {
            // What an empty file says, without its complaints: only the unreadable one is real.
            let (settings, _) = check::read(file, "");
            (settings, vec![problem.clone()])
        }
    }
}

fn add_clashes(devices: &mut [DeviceFile]) {
    let claims: Vec<_> = devices
        .iter()
        .map(|device| (device.file.as_path(), &device.sheet.claims))
        .collect();
    for (number, problem) in clash::find(&claims) {
        devices[number].problems.push(problem);
    }
}

fn add_surplus(devices: &mut [DeviceFile], max_devices: usize) {
    for device in devices.iter_mut().skip(max_devices) {
        let message = format!("there are more device files than limits.max_devices, {max_devices}");
        let fix = "raise max_devices in wardpost.toml, or remove files";
        device
            .problems
            .push(Problem::with_file(device.file.clone(), message, fix));
    }
}

/// The device files in order of their names. A site without the folder has no devices.
fn device_files(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let unreadable = |error: &io::Error| {
        let message = format!("the folder of the device files cannot be read: {error}");
        Problem::with_file(
            folder.to_owned(),
            message,
            "make it readable for the user wardpost",
        )
    };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| unreadable(&error))?.path();
        let is_hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
            && !is_hidden
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_text(file: &Path) -> Result<String, Problem> {
    let refusal = |message, fix| Err(Problem::with_file(file.to_owned(), message, fix));
    let mut bytes = Vec::new();
    let read =
        File::open(file).and_then(|open| open.take(MOST_FILE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => refusal(
            format!("cannot be read: {error}"),
            "create it, or make it readable for the user wardpost",
        ),
        Ok(length) if length as u64 > MOST_FILE_BYTES => refusal(
            "is larger than 1 MiB".to_owned(),
            "this is probably not a configuration file; remove it",
        ),
        Ok(_) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text),
            Err(_) => refusal("is not UTF-8".to_owned(), "save it as UTF-8"),
        },
    }
}

const MOST_FILE_BYTES: u64 = 1024 * 1024;
