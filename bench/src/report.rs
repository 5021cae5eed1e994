//! Figures, and how they are shown: a table with a line on the method of each, or JSON.

use crate::claims::Finding;
use crate::stats::Spread;
use serde_json::{Value, json};
use std::fmt;

/// What the issue asks of a figure. Printed beside it, never enforced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// `benchmark.figure`, a name to compare runs by.
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) spread: Spread,
    /// A 95 % interval of the median, where it was asked for.
    pub(crate) interval: Option<(f64, f64)>,
    pub(crate) goal: Option<Goal>,
    /// How it was taken and with what it was compared in the same run.
    pub(crate) method: String,
}

#[derive(Debug)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    /// Tables and remarks that belong to no single figure.
    notes: Vec<String>,
    findings: Vec<Finding>,
    load_at_start: String,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, values: &[f64], method: &str) -> Self {
        Self {
            name: name.into(),
            unit,
            spread: Spread::of(values),
            interval: None,
            goal: None,
            method: method.to_owned(),
        }
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn interval(mut self, interval: (f64, f64)) -> Self {
        self.interval = Some(interval);
        self
    }
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }

    /// `within` or `above` a limit, `reached` or `below` a rate.
    fn verdict(self, value: f64) -> &'static str {
        match (self, self.is_met(value)) {
            (Self::AtMost(_), true) => "within",
            (Self::AtMost(_), false) => "above",
            (Self::AtLeast(_), true) => "reached",
            (Self::AtLeast(_), false) => "below",
        }
    }
}

impl Report {
    pub(crate) fn new() -> Self {
        Self {
            figures: Vec::new(),
            notes: Vec::new(),
            findings: Vec::new(),
            load_at_start: load(),
        }
    }

    pub(crate) fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(crate) fn add_findings(&mut self, findings: Vec<Finding>) {
        self.findings.extend(findings);
    }

    pub(crate) fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                json!({
                    "name": figure.name,
                    "unit": figure.unit,
                    "median": figure.spread.median,
                    "min": figure.spread.min,
                    "max": figure.spread.max,
                    "rounds": figure.spread.rounds,
                    "interval_95": figure.interval,
                    "goal": figure.goal.map(|goal| goal.to_string()),
                    "verdict": figure.goal.map(|goal| goal.verdict(figure.spread.median)),
                    "method": figure.method,
                })
            })
            .collect();
        json!({
            "cpus": std::thread::available_parallelism().map_or(0, usize::from),
            "load_at_start": self.load_at_start,
            "load_at_end": load(),
            "figures": figures,
            "notes": self.notes,
            "claims": self.findings,
        })
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(out, "<= {limit}"),
            Self::AtLeast(limit) => write!(out, ">= {limit}"),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![
            [
                "figure",
                "unit",
                "median",
                "min – max",
                "95 % of median",
                "rounds",
                "goal",
                "",
            ]
            .map(str::to_owned),
        ];
        for figure in &self.figures {
            let Spread {
                median,
                min,
                max,
                rounds,
            } = figure.spread;
            rows.push([
                figure.name.clone(),
                figure.unit.to_owned(),
                short(median),
                format!("{} – {}", short(min), short(max)),
                figure.interval.map_or_else(String::new, |(from, to)| {
                    format!("{} – {}", short(from), short(to))
                }),
                rounds.to_string(),
                figure.goal.map_or_else(String::new, |goal| goal.to_string()),
                figure
                    .goal
                    .map_or_else(String::new, |goal| goal.verdict(median).to_owned()),
            ]);
        }
        if !self.figures.is_empty() {
            write!(out, "{}", table(&rows))?;
            writeln!(out)?;
        }
        for figure in &self.figures {
            writeln!(out, "{}: {}", figure.name, figure.method)?;
        }
        for note in &self.notes {
            writeln!(out, "\n{note}")?;
        }
        writeln!(
            out,
            "\nload average before {}, after {}; {} processors. A busy machine widens rates; ratios of one run stand.",
            self.load_at_start,
            load(),
            std::thread::available_parallelism().map_or(0, usize::from),
        )
    }
}

/// Columns as wide as their widest cell; all but the first two to the right.
pub(crate) fn table<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(at, (cell, width))| {
                if at < 2 {
                    format!("{cell:<width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Three or four digits that matter.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("?").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_says_on_which_side_a_value_is() {
        for (goal, value, verdict) in [
            (Goal::AtMost(7.0), 7.0, "within"),
            (Goal::AtMost(7.0), 7.1, "above"),
            (Goal::AtLeast(60.0), 60.0, "reached"),
            (Goal::AtLeast(60.0), 59.0, "below"),
        ] {
            assert_eq!(goal.verdict(value), verdict, "{goal} {value}");
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "bb", "1"], ["ccc", "d", "23"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a    bb   1\nccc  d   23\n");
    }
}
