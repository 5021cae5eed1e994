//! A recording as JSON. The field names are stable: `docs/recording.md` lists them, and new ones may come.

use crate::quantity::method_word;
use crate::tell::{Told, metric_name};
use heaptide_analysis::report::{Cell, Table, Unit};
use heaptide_analysis::views::{Figure, Headline, SiteTable, StackFrame, Window};
use heaptide_protocol::session::{Capability, CapabilityState, EventClass, Method, PlatformSignature};
use serde_json::{Map, Value, json};

impl Told<'_> {
    pub fn json(&self) -> Value {
        let recording = self.recording;
        let mut out = Map::new();
        let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
        put("session", json!(recording.id.to_string()));
        put("frames", json!(recording.frames));
        put("bytes", json!(recording.bytes));
        put("length_s", json!(recording.length_s()));
        put("flaws", json!(recording.flaws()));
        put(
            "started_unix_ns",
            json!(recording.unix_ns(recording.session.span().from_ns)),
        );
        put(
            "labels",
            recording
                .session
                .start()
                .map_or(Value::Null, |start| json!(start.labels)),
        );
        put("signature", recording.signature().map_or(Value::Null, signature));
        let capabilities = recording.session.start().map(|start| &start.capabilities);
        put(
            "capabilities",
            capabilities.map_or(Value::Null, |list| list.iter().map(capability).collect()),
        );
        put("window", window(self.query.window));
        put("headline", headline(&self.headline));
        if let Some(table) = &self.heap {
            put("heap", heap(table, metric_name(self.query.metric)));
        }
        for (kind, report) in &self.reports {
            put(
                kind.name(),
                json!({ "tables": report.tables.iter().map(table).collect::<Vec<_>>() }),
            );
        }
        Value::Object(out)
    }
}

pub(crate) fn figure(figure: &Figure) -> Value {
    let mut value = json!({
        "value": figure.value,
        "low": figure.low,
        "high": figure.high,
        "method": method_word(figure.method),
    });
    if let Method::Sampled { rate_bytes } = figure.method {
        value["rate_bytes"] = json!(rate_bytes);
    }
    value
}

pub(crate) fn window(window: Window) -> Value {
    json!({ "from_ns": window.from_ns, "to_ns": window.to_ns })
}

pub(crate) fn signature(signature: &PlatformSignature) -> Value {
    json!({
        "os": signature.os,
        "os_version": signature.os_version,
        "kernel": signature.kernel,
        "architecture": signature.architecture,
        "cpus": signature.cpus,
        "page_size_bytes": signature.page_size_bytes,
        "huge_page_mode": signature.huge_page_mode,
        "libc": signature.libc,
        "runtime": signature.runtime,
        "runtime_version": signature.runtime_version,
        "build_id": signature.build_id,
        "host_name": signature.host_name,
        "pid": signature.pid,
        "executable": signature.executable,
        "command_line": signature.command_line,
        "collector_version": signature.collector_version,
    })
}

/// One row of the matrix of what can be seen.
pub fn capability(capability: &Capability) -> Value {
    let (state, why, remedy) = match &capability.state {
        CapabilityState::Active => ("active", None, None),
        CapabilityState::Limited { why } => ("limited", Some(why), None),
        CapabilityState::Off { why } => ("off", Some(why), None),
        CapabilityState::Unavailable { why, remedy } => ("unavailable", Some(why), Some(remedy)),
    };
    json!({
        "class": match capability.class {
            EventClass::Allocation => "allocation",
            EventClass::Goroutine => "goroutine",
            EventClass::GarbageCollection => "garbage_collection",
            EventClass::Mapping => "mapping",
            EventClass::Gauge => "gauge",
        },
        "source": capability.source,
        "method": method_word(capability.method),
        "state": state,
        "why": why,
        "remedy": remedy,
    })
}

fn headline(headline: &Headline) -> Value {
    let optional = |value: &Option<Figure>| value.as_ref().map_or(Value::Null, figure);
    json!({
        "live_bytes": figure(&headline.live),
        "rss_bytes": optional(&headline.rss),
        "pss_bytes": optional(&headline.pss),
        "untracked_memory_bytes": optional(&headline.untracked),
        "allocated_bytes_per_s": figure(&headline.allocated_per_s),
        "freed_bytes_per_s": figure(&headline.freed_per_s),
        "rate_window": window(headline.rate_window),
        "sampling_rate_bytes": headline.sampling_rate_bytes,
        "samples": headline.samples,
        "live_samples": headline.live_samples,
        "gc_cycles": headline.gc_cycles,
        "pauses": headline.pauses,
        "pause_total_ns": headline.pause_total_ns,
        "pause_longest_ns": headline.pause_longest_ns,
        "dropped": headline.dropped,
        "damaged_frames": headline.damaged_frames,
        "ended": headline.ended,
        "tick_ns": headline.tick_ns,
        "trimmed": headline
            .trimmed
            .iter()
            .map(|trim| json!({ "what": trim.what, "count": trim.count }))
            .collect::<Vec<_>>(),
    })
}

fn heap(table: &SiteTable, metric: &str) -> Value {
    let rows = table.rows.iter().map(|row| {
        json!({
            "function": row.function,
            "file": row.file,
            "line": row.line,
            "bytes": figure(&row.bytes),
            "objects": figure(&row.objects),
            "samples": row.samples,
            "share": row.share,
            "stacks": row.stacks,
            "heaviest_stack": frames(&row.heaviest_stack),
        })
    });
    json!({
        "metric": metric,
        "total_bytes": figure(&table.total),
        "sites": rows.collect::<Vec<_>>(),
        "other_sites": table.other_sites,
        "other_bytes": table.other_bytes,
    })
}

fn table(table: &Table) -> Value {
    let columns = table
        .columns
        .iter()
        .map(|column| json!({ "label": column.label, "unit": unit_word(column.unit) }));
    let rows = table.rows.iter().map(|row| {
        let stacks = row
            .stacks
            .iter()
            .map(|(what, stack)| json!({ "what": what, "frames": frames(stack) }));
        json!({
            "cells": row.cells.iter().map(cell).collect::<Vec<_>>(),
            "stacks": stacks.collect::<Vec<_>>(),
        })
    });
    let mut value = json!({
        "title": table.title,
        "note": table.note,
        "method": method_word(table.method),
        "columns": columns.collect::<Vec<_>>(),
        "rows": rows.collect::<Vec<_>>(),
        "left_out": table.left_out,
    });
    if let Method::Sampled { rate_bytes } = table.method {
        value["rate_bytes"] = json!(rate_bytes);
    }
    value
}

/// A number or text as it is; a figure as an object; null for what is not known.
fn cell(cell: &Cell) -> Value {
    match cell {
        Cell::Unknown => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Value(value) => json!(value),
        Cell::Figure(value) => figure(value),
    }
}

fn unit_word(unit: Unit) -> &'static str {
    match unit {
        Unit::Text => "text",
        Unit::Count => "count",
        Unit::Bytes => "bytes",
        Unit::Nanos => "ns",
        Unit::Moment => "moment_ns",
        Unit::Share => "share",
        Unit::BytesPerSecond => "bytes_per_s",
        Unit::Address => "address",
    }
}

fn frames(frames: &[StackFrame]) -> Value {
    let rows = frames.iter().map(|frame| {
        json!({
            "function": frame.function,
            "file": frame.file,
            "line": frame.line,
            "inlined": frame.inlined,
        })
    });
    rows.collect()
}
