//! A comparison as text and as JSON.

use super::{Diff, SiteChange, Verdict};
use crate::grid::{Align, Grid};
use crate::json;
use crate::quantity;
use crate::text::site;
use heaptide_analysis::report::Unit;
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Diff {
    pub fn text(&self) -> String {
        let mut out = String::new();
        for warning in &self.warnings {
            let _ = writeln!(out, "note: {warning}");
        }
        let unit = self.metric.unit();
        let total = &self.total;
        let _ = writeln!(
            out,
            "{}: {} before, {} after: {}",
            self.metric.name(),
            quantity::figure(&total.before, unit),
            quantity::figure(&total.after, unit),
            moved(total, unit)
        );
        let _ = writeln!(
            out,
            "  before {}; after {}; a site moved if the 99 % interval of its change leaves out 0",
            quantity::method(total.before.method),
            quantity::method(total.after.method)
        );
        let mut grid = Grid::new(vec![
            Align::Left,
            Align::Right,
            Align::Left,
            Align::Right,
            Align::Right,
            Align::Left,
        ]);
        let head = ["", "change", "interval", "before", "after", "call site"];
        grid.row(head.map(str::to_owned).to_vec());
        for row in &self.sites {
            grid.row(vec![
                if row.moved { "moved" } else { "noise" }.to_owned(),
                signed(row.change.value, unit),
                format!(
                    "{} to {}",
                    signed(row.change.low, unit),
                    signed(row.change.high, unit)
                ),
                quantity::in_unit(row.before.value, unit, 0),
                quantity::in_unit(row.after.value, unit, 0),
                site(&row.function, &row.file, 0),
            ]);
        }
        if !self.sites.is_empty() {
            out.push('\n');
            grid.write(&mut out);
        }
        if self.left_out > 0 {
            let _ = writeln!(
                out,
                "  and {}, of which {} moved",
                quantity::plural(self.left_out, "more site", "more sites"),
                self.left_out_moved
            );
        }
        if !self.judged.is_empty() {
            out.push('\n');
            let mut grid = Grid::new(vec![Align::Left; 3]);
            for judged in &self.judged {
                let verdict = match &judged.verdict {
                    Verdict::Met => "MET",
                    Verdict::NotMet => "not met",
                    Verdict::Undecided => "undecided",
                    Verdict::Unknown { .. } => "not known",
                };
                grid.row(vec![
                    verdict.to_owned(),
                    judged.condition.clone(),
                    judged.reason.clone(),
                ]);
            }
            grid.write(&mut out);
        }
        out
    }

    pub fn json(&self) -> Value {
        let conditions = self.judged.iter().map(|judged| {
            json!({
                "condition": judged.condition,
                "verdict": verdict_word(&judged.verdict),
                "before": judged.before.as_ref().map(json::figure),
                "after": judged.after.as_ref().map(json::figure),
                "reason": judged.reason,
            })
        });
        json!({
            "metric": self.metric.name(),
            "total": change(&self.total),
            "sites": self.sites.iter().map(change).collect::<Vec<_>>(),
            "left_out": self.left_out,
            "left_out_moved": self.left_out_moved,
            "conditions": conditions.collect::<Vec<_>>(),
            "failed": self.is_failed(),
            "warnings": self.warnings,
        })
    }
}

fn verdict_word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::NotMet => "not_met",
        Verdict::Undecided => "undecided",
        Verdict::Unknown { .. } => "unknown",
    }
}

fn change(row: &SiteChange) -> Value {
    json!({
        "function": row.function,
        "file": row.file,
        "before": json::figure(&row.before),
        "after": json::figure(&row.after),
        "change": { "value": row.change.value, "low": row.change.low, "high": row.change.high },
        "moved": row.moved,
    })
}

fn moved(row: &SiteChange, unit: Unit) -> String {
    let change = signed(row.change.value, unit);
    if row.moved {
        format!("{change}, more than noise")
    } else {
        format!("{change}, within the noise")
    }
}

fn signed(value: f64, unit: Unit) -> String {
    let text = quantity::in_unit(value, unit, 0);
    if value > 0.0 { format!("+{text}") } else { text }
}
