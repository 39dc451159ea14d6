//! What the kernel knows: CPU time and memory of a process, and how long the disk takes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// CPU seconds a process has used, its threads included.
pub(super) fn cpu_seconds(process: u32) -> io::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may contain anything; fields are counted after it. utime and stime are 14 and 15.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u32 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u32>().ok())
        .sum();
    Ok(f64::from(ticks) / TICKS_PER_SECOND)
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident_mb: f64,
    pub(super) peak_mb: f64,
}

pub(super) fn memory(process: u32) -> io::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let kilobytes = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .unwrap_or_default();
        line.split_ascii_whitespace()
            .nth(1)
            .and_then(|number| number.parse::<u32>().ok())
            .unwrap_or_default()
    };
    let mb = |name| f64::from(kilobytes(name)) / 1024.0;
    Ok(Memory {
        resident_mb: mb("VmRSS:"),
        peak_mb: mb("VmHWM:"),
    })
}

/// Measures the disk beside the database: 8 KiB overwritten and synced, again and again.
#[derive(Debug)]
pub(super) struct DiskProbe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Vec<u32>>>,
}

impl DiskProbe {
    pub(super) fn start(folder: &Path) -> io::Result<Self> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("disk-probe"))?;
        file.write_all_at(&vec![0; usize::try_from(SPAN).unwrap_or_default()], 0)?;
        file.sync_all()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("disk-probe".into())
            .spawn(move || probe(&file, &stopped))?;
        Ok(Self { stop, thread })
    }

    /// Microseconds of every write with its sync, unsorted.
    pub(super) fn stop(self) -> io::Result<Vec<u32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| io::Error::other("the disk probe broke"))?
    }
}

fn probe(file: &File, stopped: &AtomicBool) -> io::Result<Vec<u32>> {
    let block = [0x5a; BLOCK];
    let (mut times, mut at) = (Vec::new(), 0);
    while !stopped.load(Ordering::Relaxed) {
        let began = Instant::now();
        file.write_all_at(&block, at)?;
        file.sync_data()?;
        times.push(u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX));
        at = (at + BLOCK as u64) % SPAN;
        std::thread::sleep(PAUSE);
    }
    Ok(times)
}

/// The value below which this share of the values lies; sorts them.
pub(super) fn quantile(values: &mut [u32], share: f64) -> u32 {
    values.sort_unstable();
    let last = u32::try_from(values.len().saturating_sub(1)).unwrap_or(u32::MAX);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the last index"
    )]
    let index = (f64::from(last) * share).round() as usize;
    values.get(index).copied().unwrap_or_default()
}

/// Fixed for user space on Linux, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;
const BLOCK: usize = 8 * 1024;
const SPAN: u64 = 1024 * 1024;
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let mut values: Vec<u32> = (1..=101).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), 51);
        assert_eq!(quantile(&mut values, 0.99), 100);
        assert_eq!(quantile(&mut [], 0.5), 0);
    }

    #[test]
    fn a_process_has_memory_and_a_peak_at_least_as_high() {
        let memory = memory(std::process::id()).unwrap();
        assert!(memory.resident_mb > 0.0 && memory.peak_mb >= memory.resident_mb);
        assert!(cpu_seconds(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn the_disk_is_measured_while_something_else_runs() {
        let folder = tempfile::tempdir().unwrap();
        let probe = DiskProbe::start(folder.path()).unwrap();
        let cpu = cpu_seconds(std::process::id()).unwrap();
        assert!(cpu >= 0.0);
        assert!(probe.stop().unwrap().len() <= 1_000_000);
    }
}
