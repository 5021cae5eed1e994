//! A recording as text: aligned, with units, method and interval beside each figure.

use crate::grid::{Align, Grid};
use crate::quantity::{self, UNKNOWN};
use crate::tell::{Told, metric_name};
use heaptide_analysis::report::{Cell, Table, Unit};
use heaptide_analysis::views::{Figure, Metric, SiteTable, StackFrame};
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method};
use std::fmt::Write as _;

impl Told<'_> {
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.head(&mut out);
        self.figures(&mut out);
        self.sources(&mut out);
        if let Some(table) = &self.heap {
            self.heap(table, &mut out);
        }
        for (kind, report) in &self.reports {
            let tables = report.tables.iter();
            for table in tables.clone() {
                self.table(table, &mut out);
            }
            if tables.len() == 0 {
                let _ = writeln!(out, "\nNothing about {} is in this recording.", kind.name());
            }
        }
        out
    }

    fn head(&self, out: &mut String) {
        let recording = self.recording;
        if let Some(signature) = recording.signature() {
            let _ = writeln!(
                out,
                "{}, process {}: {} on {} {}, kernel {}, {} CPUs",
                signature.executable,
                signature.pid,
                signature.runtime_version,
                signature.os,
                signature.os_version,
                signature.kernel,
                signature.cpus
            );
        }
        let since = recording
            .unix_ns(recording.session.span().from_ns)
            .map_or(String::new(), |unix_ns| {
                format!(", from {}", quantity::utc(unix_ns))
            });
        let _ = writeln!(
            out,
            "session {}{since}, {:.1} s, {}, {}",
            recording.id,
            recording.length_s(),
            quantity::plural(recording.frames, "frame", "frames"),
            quantity::bytes(recording.bytes as f64)
        );
        if let Some(ended) = &self.headline.ended {
            let _ = writeln!(out, "{ended}");
        }
        for flaw in recording.flaws() {
            let _ = writeln!(out, "not whole: {flaw}");
        }
        for trim in &self.headline.trimmed {
            let _ = writeln!(out, "{}: {}", trim.what, trim.count);
        }
    }

    fn figures(&self, out: &mut String) {
        let headline = &self.headline;
        let _ = writeln!(out, "\nAt {}", self.moment(self.query.window.to_ns));
        let mut grid = Grid::new(vec![Align::Left, Align::Right, Align::Left, Align::Left]);
        let mut figure = |label: &str, figure: &Figure, unit| {
            grid.row(vec![
                label.to_owned(),
                quantity::in_unit(figure.value, unit, 0),
                quantity::interval(figure, unit),
                quantity::method(figure.method),
            ]);
        };
        figure("live heap", &headline.live, Unit::Bytes);
        for (label, value) in [
            ("RSS", &headline.rss),
            ("PSS", &headline.pss),
            ("untracked", &headline.untracked),
        ] {
            if let Some(value) = value {
                figure(label, value, Unit::Bytes);
            }
        }
        figure("allocated", &headline.allocated_per_s, Unit::BytesPerSecond);
        figure("freed", &headline.freed_per_s, Unit::BytesPerSecond);
        let mut counted = |label: &str, text: String| {
            grid.row(vec![
                label.to_owned(),
                text,
                String::new(),
                quantity::method(Method::Exact),
            ]);
        };
        if self.sees(EventClass::GarbageCollection) {
            counted("collections", quantity::count(headline.gc_cycles as f64));
            counted("pauses", quantity::count(headline.pauses as f64));
            counted("pauses, in all", quantity::nanos(headline.pause_total_ns as f64));
            counted("longest pause", quantity::nanos(headline.pause_longest_ns as f64));
        }
        counted("samples", quantity::count(headline.samples as f64));
        counted("records lost", quantity::count(headline.dropped as f64));
        grid.write(out);
    }

    /// What was seen, and what not, and why.
    fn sources(&self, out: &mut String) {
        let Some(start) = self.recording.session.start() else {
            return;
        };
        out.push_str("\nSources\n");
        sources(&start.capabilities, out);
    }

    fn heap(&self, table: &SiteTable, out: &mut String) {
        let window = self.query.window;
        let when = match self.query.metric {
            Metric::Live => format!("live at {}", self.moment(window.to_ns)),
            metric => format!(
                "{} from {} to {}",
                metric_name(metric),
                self.moment(window.from_ns),
                self.moment(window.to_ns)
            ),
        };
        let _ = writeln!(
            out,
            "\nHeap by call site, {when}: {} ({})",
            quantity::figure(&table.total, Unit::Bytes),
            quantity::method(table.total.method)
        );
        let mut grid = Grid::new(vec![
            Align::Right,
            Align::Left,
            Align::Right,
            Align::Right,
            Align::Right,
            Align::Left,
        ]);
        let head = ["bytes", "interval", "objects", "samples", "share", "call site"];
        grid.row(head.map(str::to_owned).to_vec());
        for row in &table.rows {
            grid.row(vec![
                quantity::bytes(row.bytes.value),
                quantity::interval(&row.bytes, Unit::Bytes),
                quantity::count(row.objects.value),
                quantity::count(row.samples as f64),
                quantity::share(row.share),
                site(&row.function, &row.file, row.line),
            ]);
            if self.query.stacks {
                stack(&row.heaviest_stack, &mut grid);
            }
        }
        grid.write(out);
        if table.other_sites > 0 {
            let _ = writeln!(
                out,
                "  and {} with {}",
                quantity::plural(table.other_sites, "more site", "more sites"),
                quantity::bytes(table.other_bytes)
            );
        }
    }

    /// Any table, without knowing what it is about.
    fn table(&self, table: &Table, out: &mut String) {
        let _ = writeln!(out, "\n{} ({})", table.title, quantity::method(table.method));
        if !table.note.is_empty() {
            let _ = writeln!(out, "  {}", table.note);
        }
        let align = |unit: Unit| match unit {
            Unit::Text => Align::Left,
            _ => Align::Right,
        };
        let mut grid = Grid::new(table.columns.iter().map(|column| align(column.unit)).collect());
        grid.row(table.columns.iter().map(|column| column.label.clone()).collect());
        let origin_ns = self.recording.session.span().from_ns;
        for row in &table.rows {
            let cells = row.cells.iter().zip(&table.columns);
            grid.row(
                cells
                    .map(|(cell, column)| match cell {
                        Cell::Unknown => UNKNOWN.to_owned(),
                        Cell::Text(text) => text.clone(),
                        Cell::Value(value) => quantity::in_unit(*value, column.unit, origin_ns),
                        Cell::Figure(figure) => quantity::figure(figure, column.unit),
                    })
                    .collect(),
            );
            if self.query.stacks {
                for (what, frames) in &row.stacks {
                    grid.note(format!("  {what}"));
                    stack(frames, &mut grid);
                }
            }
        }
        if table.rows.is_empty() {
            out.push_str("  nothing\n");
        } else {
            grid.write(out);
        }
        if table.left_out > 0 {
            let _ = writeln!(
                out,
                "  and {}",
                quantity::plural(table.left_out, "more row", "more rows")
            );
        }
    }

    /// Whether any source of a class was there; a count of what was not looked at is no count.
    fn sees(&self, class: EventClass) -> bool {
        let start = self.recording.session.start();
        start.is_some_and(|start| {
            start.capabilities.iter().any(|capability| {
                let works = matches!(
                    capability.state,
                    CapabilityState::Active | CapabilityState::Limited { .. }
                );
                capability.class == class && works
            })
        })
    }

    fn moment(&self, at_ns: u64) -> String {
        let from_ns = self.recording.session.span().from_ns;
        format!("{:.1} s", at_ns.saturating_sub(from_ns) as f64 / 1e9)
    }
}

/// A line for each source, and why it is not simply active. What several rows share is said once.
pub fn sources(capabilities: &[Capability], out: &mut String) {
    let mut grid = Grid::new(vec![Align::Left; 3]);
    let mut said = Vec::new();
    for capability in capabilities {
        let (state, notes) = match &capability.state {
            CapabilityState::Active => ("active", Vec::new()),
            CapabilityState::Limited { why } => ("limited", vec![why.clone()]),
            CapabilityState::Off { why } => ("off", vec![why.clone()]),
            CapabilityState::Unavailable { why, remedy } => {
                ("unavailable", vec![why.clone(), format!("try: {remedy}")])
            }
        };
        let class = match capability.class {
            EventClass::Allocation => "heap",
            EventClass::Goroutine => "goroutines",
            EventClass::GarbageCollection => "collections",
            EventClass::Mapping => "mappings",
            EventClass::Gauge => "gauges",
        };
        grid.row([state, class, &capability.source].map(str::to_owned).to_vec());
        if notes == said && !notes.is_empty() {
            grid.note("    as above".to_owned());
            continue;
        }
        for note in &notes {
            grid.note(format!("    {note}"));
        }
        said = notes;
    }
    grid.write(out);
}

pub(crate) fn site(function: &str, file: &str, line: u32) -> String {
    match (file, line) {
        ("", _) => function.to_owned(),
        (file, 0) => format!("{function} {file}"),
        (file, line) => format!("{function} {file}:{line}"),
    }
}

fn stack(frames: &[StackFrame], grid: &mut Grid) {
    for frame in frames {
        let inlined = if frame.inlined { " (inlined)" } else { "" };
        grid.note(format!(
            "      {}{inlined}",
            site(&frame.function, &frame.file, frame.line)
        ));
    }
}
