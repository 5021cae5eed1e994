//! What a test runner's lines add up to, and the closing table.

use std::fmt::Write as _;
use std::time::Duration;

use crate::progress::seconds;

/// Tests by outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …`, the line that ends each of cargo's runs.
    /// Ignored ones are no tests: tidy sees to it that only parts which other tests start are.
    pub(crate) fn from_line(line: &str) -> Option<Self> {
        let rest = line.trim_start().strip_prefix("test result: ")?;
        let (_, numbers) = rest.split_once(". ")?;
        let mut counts = Self::default();
        for part in numbers.split(';') {
            let mut words = part.split_whitespace();
            let Some(number) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
                continue;
            };
            match words.next() {
                Some("passed") => counts.passed = number,
                Some("failed") => counts.failed = number,
                _ => {}
            }
        }
        Some(counts)
    }
}

/// How one step ended.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) step: &'static str,
    pub(crate) counts: Counts,
    pub(crate) took: Duration,
    /// Why it failed, or what was skipped.
    pub(crate) notes: Vec<String>,
}

/// The table of all steps, and under it the one line that machines read.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<8} {:>7} {:>7} {:>8}  {:>12}\n",
        "step", "passed", "failed", "skipped", "took"
    );
    let mut all = Counts::default();
    for row in rows {
        let Counts {
            passed,
            failed,
            skipped,
        } = row.counts;
        let took = seconds(row.took);
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "{:<8} {passed:>7} {failed:>7} {skipped:>8}  {took:>12}",
            row.step
        );
        for note in &row.notes {
            let _ = writeln!(out, "         {note}");
        }
        all.add(row.counts);
    }
    let _ = write!(
        out,
        "\n{} passed, {} failed, {} skipped",
        all.passed, all.failed, all.skipped
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_counted_whoever_wrote_them() {
        let counts = |passed, failed, skipped| {
            Some(Counts {
                passed,
                failed,
                skipped,
            })
        };
        let cases = [
            (
                "test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                counts(8, 0, 0),
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out",
                counts(3, 2, 0),
            ),
            (
                "test result: ok. 2 passed; 0 failed; 0 ignored; 0 filtered out; finished in 0.01s",
                counts(2, 0, 0),
            ),
            ("test reads_a_line ... ok", None),
            ("the test result: ok. 1 passed", None),
        ];
        for (line, expect) in cases {
            assert_eq!(Counts::from_line(line), expect, "{line}");
        }
    }

    #[test]
    fn the_table_ends_with_the_line_that_machines_read() {
        let row = |step, passed, failed, skipped, notes: &[&str]| Row {
            step,
            counts: Counts {
                passed,
                failed,
                skipped,
            },
            took: Duration::from_secs(61),
            notes: notes.iter().map(|note| (*note).to_owned()).collect(),
        };
        let text = table(&[
            row("native", 30, 1, 0, &["x failed"]),
            row("e2e", 0, 0, 1, &["skipped: no Chromium"]),
        ]);
        assert_eq!(text.lines().last(), Some("30 passed, 1 failed, 1 skipped"));
        assert!(
            text.contains("native        30       1        0          61 s\n         x failed\n"),
            "{text}"
        );
    }
}
