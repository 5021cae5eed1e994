//! The Firefox Profiler's processed profile, format version 55 (github.com/firefox-devtools/profiler,
//! docs-developer/CHANGELOG-formats.md and src/types/profile.ts; its front end upgrades older versions).
//!
//! One thread stands for the program. Its samples are the stacks of the metric asked for, weighed in bytes;
//! its allocation table (`nativeAllocations`) has what was allocated and, negative, what was freed, over
//! time.

use super::{ExportQuery, counted, provenance};
use crate::Recording;
use crate::tell::metric_name;
use heaptide_analysis::views::{StackFrame, Window};
use serde_json::{Value, json};
use std::collections::HashMap;

const VERSION: u32 = 55;
/// Steps of the allocation table, at most: it has a row for each stack and step.
const STEPS: u64 = 100;
/// The only category that every profile must have is the grey one.
const CATEGORY: u32 = 0;

pub(super) fn write(recording: &Recording, query: &ExportQuery) -> Vec<u8> {
    let mut tables = Tables::default();
    let samples = recording.session.samples(query.window);
    let title = provenance(&samples, query.metric);
    let at_ms = |at_ns: u64| at_ns.saturating_sub(query.window.from_ns) as f64 / 1e6;
    let end_ms = at_ms(query.window.to_ns);

    let mut stacks = Vec::new();
    let mut weights = Vec::new();
    for row in &samples {
        let count = counted(row, query.metric);
        if count > 0 {
            stacks.push(tables.stack(&row.frames));
            weights.push((row.weight() * count as f64 * row.size_bytes as f64).round());
        }
    }
    let times = vec![end_ms; stacks.len()];
    let mut allocations = Allocations::default();
    for step in steps(recording, query.window) {
        let time_ms = at_ms(step.to_ns);
        for row in recording.session.samples(step) {
            let bytes = row.weight() * row.size_bytes as f64;
            for (count, sign) in [(row.allocated, 1.0), (row.freed, -1.0)] {
                if count > 0 {
                    let stack = tables.stack(&row.frames);
                    allocations.push(time_ms, sign * (bytes * count as f64).round(), stack);
                }
            }
        }
    }

    let signature = recording.signature();
    let name = signature.map_or("program", |signature| signature.executable.as_str());
    let name = name.rsplit('/').next().unwrap_or(name);
    let pid = signature.map_or(0, |signature| signature.pid);
    let samples = json!({
        "length": stacks.len(),
        "stack": stacks,
        "time": times,
        "weight": weights,
        "weightType": "bytes",
    });
    let thread = json!({
        "name": format!("{name}, {}", metric_name(query.metric)),
        "isMainThread": true,
        "processType": "default",
        "processName": name,
        "pid": pid.to_string(),
        "tid": pid,
        "registerTime": 0,
        "unregisterTime": end_ms,
        "processStartupTime": 0,
        "processShutdownTime": end_ms,
        "pausedRanges": [],
        "showMarkersInTimeline": false,
        "samples": samples,
        "nativeAllocations": allocations.json(),
        "markers": {
            "length": 0, "category": [], "data": [], "endTime": [], "name": [], "phase": [], "startTime": [],
        },
        "stackTable": tables.stacks_json(),
        "frameTable": tables.frames_json(),
        "funcTable": tables.functions_json(),
        "resourceTable": { "length": 0, "lib": [], "name": [], "host": [], "type": [] },
        "nativeSymbols": { "length": 0, "address": [], "functionSize": [], "libIndex": [], "name": [] },
        "stringArray": tables.strings,
    });
    let started_ms = recording.unix_ns(query.window.from_ns).unwrap_or(0) as f64 / 1e6;
    let meta = json!({
        "preprocessedProfileVersion": VERSION,
        // Of the other, raw format; ignored, and yet expected to be there.
        "version": 24,
        "product": name,
        "importedFrom": title,
        "interval": 1,
        "startTime": started_ms,
        "processType": 0,
        "stackwalk": 1,
        "debug": false,
        "symbolicated": true,
        "usesOnlyOneStackType": true,
        "sourceCodeIsNotOnSearchfox": true,
        "oscpu": signature.map_or_else(String::new, |s| format!("{} {}", s.os, s.architecture)),
        "categories": [{ "name": "Other", "color": "grey", "subcategories": ["Other"] }],
        "extensions": { "length": 0, "baseURL": [], "id": [], "name": [] },
        "markerSchema": [],
        "pausedRanges": [],
        "sampleUnits": { "time": "ms", "eventDelay": "ms", "threadCPUDelta": "ns" },
    });
    let profile = json!({
        "meta": meta,
        "libs": [],
        "pages": [],
        "counters": [],
        "profilerOverhead": [],
        "threads": [thread],
    });
    profile.to_string().into_bytes()
}

/// Windows that begin and end between two ticks, so that each row falls into exactly one.
fn steps(recording: &Recording, window: Window) -> Vec<Window> {
    let tick_ns = recording.session.headline_at(window.to_ns).tick_ns.max(1);
    let origin_ns = recording.session.span().from_ns;
    let first = window.from_ns.saturating_sub(origin_ns) / tick_ns;
    let last = window.to_ns.saturating_sub(origin_ns).div_ceil(tick_ns);
    let ticks = last.saturating_sub(first);
    let step = ticks.div_ceil(STEPS).max(1);
    (0..ticks.div_ceil(step))
        .map(|at| {
            let from = first + at * step;
            Window {
                from_ns: origin_ns + from * tick_ns,
                to_ns: origin_ns + (from + step).min(last) * tick_ns,
            }
        })
        .collect()
}

#[derive(Debug, Default)]
struct Allocations {
    times_ms: Vec<f64>,
    weights: Vec<f64>,
    stacks: Vec<u32>,
}

impl Allocations {
    fn push(&mut self, time_ms: f64, weight: f64, stack: u32) {
        self.times_ms.push(time_ms);
        self.weights.push(weight);
        self.stacks.push(stack);
    }

    fn json(&self) -> Value {
        json!({
            "length": self.stacks.len(),
            "time": self.times_ms,
            "weight": self.weights,
            "weightType": "bytes",
            "stack": self.stacks,
        })
    }
}

/// Strings, functions, frames and stacks, each once.
#[derive(Debug, Default)]
struct Tables {
    strings: Vec<String>,
    string_ids: HashMap<String, u32>,
    /// Name and file.
    functions: Vec<(u32, u32)>,
    function_ids: HashMap<(u32, u32), u32>,
    /// Function, line, depth of inlining.
    frames: Vec<(u32, u32, u32)>,
    frame_ids: HashMap<(u32, u32, u32), u32>,
    /// Caller's stack and frame.
    stacks: Vec<(Option<u32>, u32)>,
    stack_ids: HashMap<(Option<u32>, u32), u32>,
}

impl Tables {
    /// `frames` leaf first.
    fn stack(&mut self, frames: &[StackFrame]) -> u32 {
        let mut prefix = None;
        let mut depth = 0;
        for frame in frames.iter().rev() {
            // Inlined into the one before it, which is its caller.
            depth = if frame.inlined { depth + 1 } else { 0 };
            let key = (self.string(&frame.function), self.string(&frame.file));
            let function = id(&mut self.functions, &mut self.function_ids, key);
            let frame = id(
                &mut self.frames,
                &mut self.frame_ids,
                (function, frame.line, depth),
            );
            prefix = Some(id(&mut self.stacks, &mut self.stack_ids, (prefix, frame)));
        }
        prefix.unwrap_or(0)
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(id) = self.string_ids.get(text) {
            return *id;
        }
        let id = self.strings.len() as u32;
        self.strings.push(text.to_owned());
        self.string_ids.insert(text.to_owned(), id);
        id
    }

    fn stacks_json(&self) -> Value {
        json!({
            "length": self.stacks.len(),
            "prefix": column(&self.stacks, |(prefix, _)| json!(prefix)),
            "frame": column(&self.stacks, |(_, frame)| json!(frame)),
        })
    }

    fn frames_json(&self) -> Value {
        let all = |value: Value| column(&self.frames, |_| value.clone());
        json!({
            "length": self.frames.len(),
            "address": all(json!(-1)),
            "inlineDepth": column(&self.frames, |(_, _, depth)| json!(depth)),
            "category": all(json!(CATEGORY)),
            "subcategory": all(json!(0)),
            "func": column(&self.frames, |(function, ..)| json!(function)),
            "nativeSymbol": all(Value::Null),
            "innerWindowID": all(json!(0)),
            "line": column(&self.frames, |(_, line, _)| if *line == 0 { Value::Null } else { json!(line) }),
            "column": all(Value::Null),
        })
    }

    fn functions_json(&self) -> Value {
        let all = |value: Value| column(&self.functions, |_| value.clone());
        json!({
            "length": self.functions.len(),
            "name": column(&self.functions, |(name, _)| json!(name)),
            "isJS": all(json!(false)),
            "relevantForJS": all(json!(false)),
            "resource": all(json!(-1)),
            "fileName": column(&self.functions, |(_, file)| json!(file)),
            "lineNumber": all(Value::Null),
            "columnNumber": all(Value::Null),
        })
    }
}

fn id<K: Copy + Eq + std::hash::Hash>(list: &mut Vec<K>, ids: &mut HashMap<K, u32>, key: K) -> u32 {
    *ids.entry(key).or_insert_with(|| {
        list.push(key);
        list.len() as u32 - 1
    })
}

fn column<T>(rows: &[T], of: impl Fn(&T) -> Value) -> Value {
    rows.iter().map(of).collect()
}
