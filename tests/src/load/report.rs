//! The figures as a table that can be quoted.

use std::fmt;

use super::Shape;
use super::system::Memory;

/// Several values of one figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        Self {
            median: at(values.len() / 2),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }
}

/// The figures of one shape.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) shape: Shape,
    /// Pushes a second.
    pub(super) rates: Spread,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// CPU seconds of the agent per 10,000 pushes.
    pub(super) cpus: Spread,
    /// Cores that generator and devices used.
    pub(super) harness: Spread,
    pub(super) disk_p50_ms: f64,
    pub(super) disk_p99_ms: f64,
    /// Pushes a second without the agent.
    pub(super) ceiling: f64,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) rows: Vec<Row>,
    /// Milliseconds.
    pub(super) starts: Spread,
    pub(super) idle: Memory,
    pub(super) loaded: Memory,
    pub(super) pushes: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for row in &self.rows {
            row.fmt(f)?;
        }
        writeln!(f, "\n| what | median (min-max) |\n| --- | --- |")?;
        let Spread {
            median,
            least,
            most,
        } = self.starts;
        writeln!(
            f,
            "| process start to connect response, ms | {median:.0} ({least:.0}-{most:.0}) |"
        )?;
        writeln!(
            f,
            "| resident memory idle, MB | {:.1} |",
            self.idle.resident_mb
        )?;
        writeln!(
            f,
            "| resident memory after the load, MB | {:.1} |",
            self.loaded.resident_mb
        )?;
        writeln!(
            f,
            "| peak resident memory, MB | {:.1} |",
            self.loaded.peak_mb
        )?;
        writeln!(
            f,
            "\n{} pushes to the agent in all, each answered once with 200 and in order at its device.",
            self.pushes
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            shape,
            rates,
            p50_ms,
            p99_ms,
            cpus,
            harness,
            disk_p50_ms,
            disk_p99_ms,
            ceiling,
        } = self;
        write!(f, "| {} | {} ", shape.in_flight, shape.devices)?;
        write!(
            f,
            "| {:.0} ({:.0}-{:.0}) | {p50_ms:.3} | {p99_ms:.2} ",
            rates.median, rates.least, rates.most
        )?;
        write!(
            f,
            "| {:.2} ({:.2}-{:.2}) | {:.2} ",
            cpus.median, cpus.least, cpus.most, harness.median
        )?;
        writeln!(f, "| {disk_p50_ms:.3} | {disk_p99_ms:.2} | {ceiling:.0} |")
    }
}

const HEAD: &str = "\
| in flight | devices | pushes/s median (min-max) | p50 ms | p99 ms | agent CPU s per 10,000 | harness cores | fdatasync p50 ms | fdatasync p99 ms | ceiling without the agent /s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_reads_as_a_line_of_the_table() {
        let row = Row {
            shape: Shape {
                in_flight: 16,
                devices: 1,
            },
            rates: Spread::of(vec![3_700.0, 3_500.0, 4_000.0]),
            p50_ms: 4.1234,
            p99_ms: 9.876,
            cpus: Spread::of(vec![1.5]),
            harness: Spread::of(vec![0.25]),
            disk_p50_ms: 0.1211,
            disk_p99_ms: 0.29,
            ceiling: 12_000.4,
        };
        let expected = "| 16 | 1 | 3700 (3500-4000) | 4.123 | 9.88 | 1.50 (1.50-1.50) | 0.25 | 0.121 | 0.29 | 12000 |\n";
        assert_eq!(row.to_string(), expected);
        assert_eq!(
            expected.matches('|').count(),
            HEAD.lines().next().unwrap().matches('|').count()
        );
    }
}
