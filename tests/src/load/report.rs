//! The figures as tables that can be quoted, and beside each target whether it is met.

use std::fmt;

use super::Shape;
use super::system::Memory;

/// Several values of one figure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    pub(super) median: f64,
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
pub struct Row {
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
}

/// One agent with its default settings.
#[derive(Clone, Debug)]
pub(super) struct Main {
    pub(super) rows: Vec<Row>,
    /// Pushes a second without the agent, a figure a row.
    pub(super) ceilings: Vec<f64>,
    /// At a fixed rate.
    pub(super) paced: Row,
    /// Milliseconds.
    pub(super) starts: Spread,
    pub(super) idle: Memory,
    pub(super) soak: Soak,
    pub(super) pushes: usize,
}

/// Memory after some pushes, and after many more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Soak {
    pub(super) early_at: usize,
    pub(super) early: Memory,
    /// When the agent remembers as many pushes as it ever does.
    pub(super) full_at: usize,
    pub(super) full: Memory,
    pub(super) late_at: usize,
    pub(super) late: Memory,
}

/// The same shape with and without something, in turns.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) without: Row,
    pub(super) with: Row,
}

/// A long queue for devices that are away.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backlog {
    pub(super) pushes: u32,
    pub(super) devices: usize,
    /// Pushes a second that were taken in.
    pub(super) filled: f64,
    pub(super) full: Memory,
    /// Milliseconds.
    pub(super) starts: Spread,
    pub(super) again: Memory,
}

/// Everything that was measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub(super) main: Main,
    pub(super) slow: Row,
    pub(super) wss: Pair,
    pub(super) neighbours: Pair,
    pub(super) backlog: Backlog,
}

impl Pair {
    fn rate(&self) -> f64 {
        self.with.rates.median / self.without.rates.median
    }

    fn p99(&self) -> f64 {
        self.with.p99_ms / self.without.p99_ms
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        for (row, ceiling) in self.main.rows.iter().zip(&self.main.ceilings) {
            row.line(f, "", Some(*ceiling))?;
        }
        self.main.paced.line(f, "500/s", None)?;
        self.slow.line(f, "5 ms more per sync", None)?;
        self.wss.without.line(f, "in turns: plain", None)?;
        self.wss.with.line(f, "in turns: wss", None)?;
        self.neighbours.without.line(f, "in turns: alone", None)?;
        self.neighbours
            .with
            .line(f, "in turns: 102 in trouble", None)?;
        writeln!(f, "\n{TARGETS_HEAD}")?;
        for target in self.targets() {
            writeln!(f, "{target}")?;
        }
        writeln!(
            f,
            "\n{} pushes to the agent of the first rows, each answered once with 200 and in order at its device. \
             A queue of {} for {} devices was taken in at {:.0}/s.",
            self.main.pushes, self.backlog.pushes, self.backlog.devices, self.backlog.filled
        )?;
        let Soak {
            early_at,
            early,
            full_at,
            full,
            late_at,
            late,
        } = self.main.soak;
        writeln!(
            f,
            "Resident memory was {:.1} MB after {early_at} pushes, {:.1} MB after {full_at} and {:.1} MB after {late_at}, \
             {:.1} MB at most.",
            early.resident_mb, full.resident_mb, late.resident_mb, late.peak_mb
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.line(f, "", None)
    }
}

impl Row {
    fn line(&self, f: &mut fmt::Formatter<'_>, note: &str, ceiling: Option<f64>) -> fmt::Result {
        let in_flight = match self.shape.in_flight {
            0 => note.to_owned(),
            count if note.is_empty() => count.to_string(),
            count => format!("{count}, {note}"),
        };
        write!(f, "| {in_flight} | {} ", self.shape.devices)?;
        let Spread {
            median,
            least,
            most,
        } = self.rates;
        write!(f, "| {median:.0} ({least:.0}-{most:.0}) ")?;
        write!(f, "| {:.3} | {:.2} ", self.p50_ms, self.p99_ms)?;
        let Spread {
            median,
            least,
            most,
        } = self.cpus;
        write!(f, "| {median:.2} ({least:.2}-{most:.2}) ")?;
        write!(f, "| {:.2} ", self.harness.median)?;
        write!(f, "| {:.3} | {:.2} ", self.disk_p50_ms, self.disk_p99_ms)?;
        match ceiling {
            Some(ceiling) => writeln!(f, "| {ceiling:.0} |"),
            None => writeln!(f, "| |"),
        }
    }
}

/// A figure beside what it should be.
struct Target {
    what: &'static str,
    got: f64,
    limit: Limit,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            got,
            limit,
            unit,
        } = self;
        let (word, bound, met) = match *limit {
            Limit::AtLeast(bound) => ("at least", bound, *got >= bound),
            Limit::AtMost(bound) => ("at most", bound, *got <= bound),
        };
        let verdict = if met { "met" } else { "MISSED" };
        write!(
            f,
            "| {what} | {} {unit} | {word} {} {unit} | {verdict} |",
            short(*got),
            short(bound)
        )
    }
}

/// Two or three digits that count.
fn short(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => format!("{value:.0}"),
        value if value >= 100.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

impl Report {
    fn row(&self, in_flight: u32, devices: usize) -> Option<&Row> {
        let shape = Shape { in_flight, devices };
        self.main.rows.iter().find(|row| row.shape == shape)
    }

    fn targets(&self) -> Vec<Target> {
        let mut targets = self.speed();
        targets.extend(self.comparisons());
        targets.extend(self.size());
        targets
    }

    fn speed(&self) -> Vec<Target> {
        let mut targets = Vec::new();
        if let Some(wide) = self.row(128, 16) {
            targets.push(at_least(
                "rate, 128 over 16",
                wide.rates.median,
                22_000.0,
                "/s",
            ));
            targets.push(at_most(
                "CPU per 10,000, 128 over 16",
                wide.cpus.median,
                0.45,
                "s",
            ));
        }
        if let Some(strict) = self.row(128, 1) {
            targets.push(at_least(
                "rate, one device",
                strict.rates.median,
                3_000.0,
                "/s",
            ));
        }
        if let Some(one) = self.row(1, 1) {
            let bound = 2.0 * one.disk_p50_ms + 0.20;
            targets.push(at_most(
                "p50 of one in flight: two syncs + 0.20",
                one.p50_ms,
                bound,
                "ms",
            ));
        }
        let paced = &self.main.paced;
        let bound = 2.0 * paced.disk_p50_ms + 5.0;
        targets.push(at_most(
            "p99 at 500/s over 16: two syncs + 5",
            paced.p99_ms,
            bound,
            "ms",
        ));
        let slow = self.slow.rates.median;
        targets.push(at_least(
            "rate with 5 ms more per sync",
            slow,
            2_000.0,
            "/s",
        ));
        targets
    }

    fn comparisons(&self) -> Vec<Target> {
        let neighbours = &self.neighbours;
        vec![
            at_least("rate over wss, of plain", self.wss.rate(), 0.9, ""),
            at_least(
                "rate beside 102 devices in trouble, of alone",
                neighbours.rate(),
                0.9,
                "",
            ),
            at_most("p99 beside them, of alone", neighbours.p99(), 1.1, ""),
        ]
    }

    fn size(&self) -> Vec<Target> {
        let Soak { early, late, .. } = self.main.soak;
        let grown = late.resident_mb / early.resident_mb;
        let backlog = &self.backlog;
        vec![
            at_most("resident idle", self.main.idle.resident_mb, 15.0, "MB"),
            at_most("resident after the soak", late.resident_mb, 40.0, "MB"),
            at_most("the same, of before the soak", grown, 1.1, ""),
            at_most(
                "resident with the long queue",
                backlog.full.resident_mb,
                48.0,
                "MB",
            ),
            at_most(
                "peak after a start with it",
                backlog.again.peak_mb,
                48.0,
                "MB",
            ),
            at_most("start to connect", self.main.starts.median, 60.0, "ms"),
            at_most(
                "start to connect with the long queue",
                backlog.starts.median,
                250.0,
                "ms",
            ),
        ]
    }
}

fn at_least(what: &'static str, got: f64, bound: f64, unit: &'static str) -> Target {
    Target {
        what,
        got,
        limit: Limit::AtLeast(bound),
        unit,
    }
}

fn at_most(what: &'static str, got: f64, bound: f64, unit: &'static str) -> Target {
    Target {
        what,
        got,
        limit: Limit::AtMost(bound),
        unit,
    }
}

const HEAD: &str = "\
| in flight | devices | pushes/s median (min-max) | p50 ms | p99 ms | agent CPU s per 10,000 | harness cores | fdatasync p50 ms | fdatasync p99 ms | ceiling without the agent /s |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";
const TARGETS_HEAD: &str = "\
| figure | measured | target | |
| --- | --- | --- | --- |";

#[cfg(test)]
mod tests {
    use super::*;

    struct Line<'a>(&'a Row, Option<f64>);

    impl fmt::Display for Line<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.line(f, "", self.1)
        }
    }

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
        };
        let expected = "| 16 | 1 | 3700 (3500-4000) | 4.123 | 9.88 | 1.50 (1.50-1.50) | 0.25 | 0.121 | 0.29 | 12000 |\n";
        assert_eq!(Line(&row, Some(12_000.4)).to_string(), expected);
        assert_eq!(
            expected.matches('|').count(),
            HEAD.lines().next().unwrap().matches('|').count()
        );
    }

    #[test]
    fn a_target_says_whether_it_is_met() {
        let met = at_least("rate", 22_500.4, 22_000.0, "/s").to_string();
        assert_eq!(met, "| rate | 22500 /s | at least 22000 /s | met |");
        let missed = at_most("CPU", 0.46, 0.45, "s").to_string();
        assert_eq!(missed, "| CPU | 0.46 s | at most 0.45 s | MISSED |");
    }
}
