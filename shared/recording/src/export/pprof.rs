//! profile.proto, as Go's own heap profile has it (runtime/pprof/protomem.go, `writeHeapInternal`): the
//! same four values in the same order, one sample for each stack and size with the size as the label
//! `bytes`, the allocator's frames left out, and values weighed by `1 / (1 - exp(-size / rate))`.
//!
//! It differs in what it must: `alloc_*` counts the window, `inuse_*` what is live at its end and was
//! allocated since Heaptide came; locations have no addresses, because a session keeps none.

use super::proto::Message;
use super::{ExportQuery, counted, gzip, provenance};
use crate::{Recording, RecordingError};
use heaptide_analysis::StackSamples;
use heaptide_analysis::views::{Metric, StackFrame};
use std::collections::{BTreeMap, HashMap};

/// The one mapping: the program.
const MAPPING: u64 = 1;
/// Values of a sample: allocated and live, objects and bytes.
type Values = [f64; 4];

pub(super) fn write(recording: &Recording, query: &ExportQuery) -> Result<Vec<u8>, RecordingError> {
    let live = match query.metric {
        Metric::Live | Metric::Allocated => Metric::Live,
        Metric::Kept => Metric::Kept,
        Metric::Freed => {
            return Err(RecordingError::Unsupported {
                format: "pprof",
                metric: "freed",
                instead: "its heap profiles have allocated and live objects; take --format collapsed",
            });
        }
    };
    let samples = recording.session.samples(query.window);
    let mut profile = Profile::default();
    profile.head(recording, query, &samples);
    for ((stack, size_bytes), values) in grouped(&samples, live) {
        profile.sample(&samples[stack].frames, size_bytes, values);
    }
    Ok(gzip::compress(&profile.finish()))
}

/// The rate that most samples were taken at.
fn usual_rate(samples: &[StackSamples]) -> Option<u64> {
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    for row in samples {
        *counts.entry(row.rate_bytes).or_default() += row.allocated + row.live;
    }
    let (rate_bytes, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
    Some(rate_bytes)
}

/// Sums by stack and size over rates, under the first row of each; what has neither is left out.
fn grouped(samples: &[StackSamples], live: Metric) -> BTreeMap<(usize, u64), Values> {
    let mut stacks: HashMap<&[StackFrame], usize> = HashMap::new();
    let mut groups: BTreeMap<(usize, u64), Values> = BTreeMap::new();
    for (at, row) in samples.iter().enumerate() {
        let counts = [row.allocated, counted(row, live)];
        if counts == [0, 0] {
            continue;
        }
        let stack = *stacks.entry(&row.frames).or_insert(at);
        let values = groups.entry((stack, row.size_bytes)).or_default();
        let weight = row.weight();
        for (pair, count) in values.chunks_exact_mut(2).zip(counts) {
            let objects = weight * count as f64;
            pair[0] += objects;
            pair[1] += objects * row.size_bytes as f64;
        }
    }
    groups
}

#[derive(Debug, Default)]
struct Profile {
    message: Message,
    strings: Vec<String>,
    string_ids: HashMap<String, u64>,
    /// By name and file.
    functions: HashMap<(u64, u64), u64>,
    /// By the functions and lines that share an address, leaf first.
    locations: HashMap<Vec<(u64, u32)>, u64>,
}

impl Profile {
    fn head(&mut self, recording: &Recording, query: &ExportQuery, samples: &[StackSamples]) {
        // The first string is the empty one, by the format's definition.
        self.string("");
        for (kind, unit) in [
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes"),
        ] {
            let value_type = self.value_type(kind, unit);
            self.message.message(1, &value_type);
        }
        let mut mapping = Message::default();
        mapping.unsigned(1, MAPPING);
        if let Some(signature) = recording.signature() {
            mapping.unsigned(5, self.string(&signature.executable));
            mapping.unsigned(6, self.string(&signature.build_id));
        }
        // Functions, files, lines and inlined calls are all here: nothing is left to look up.
        for field in 7..=10 {
            mapping.flag(field, true);
        }
        self.message.message(3, &mapping);

        if let Some(unix_ns) = recording.unix_ns(query.window.from_ns) {
            self.message.signed(9, unix_ns as i64);
        }
        let length_ns = query.window.to_ns.saturating_sub(query.window.from_ns);
        self.message.signed(10, length_ns as i64);
        let period_type = self.value_type("space", "bytes");
        self.message.message(11, &period_type);
        let rate_bytes = usual_rate(samples).unwrap_or_else(|| {
            let headline = recording.session.headline_at(query.window.to_ns);
            headline.sampling_rate_bytes
        });
        self.message.signed(12, rate_bytes as i64);
        let mut comments = vec![
            provenance(samples, Metric::Allocated),
            provenance(samples, Metric::Live),
        ];
        if samples.iter().any(|row| row.rate_bytes != rate_bytes) {
            comments.push(
                "the sampling rate changed: each sample is weighed by its own, most by the period's"
                    .to_owned(),
            );
        }
        comments.extend(
            recording
                .flaws()
                .into_iter()
                .map(|flaw| format!("not whole: {flaw}")),
        );
        for comment in comments {
            let comment = self.string(&comment);
            self.message.unsigned(13, comment);
        }
        let default = match query.metric {
            Metric::Allocated => "alloc_space",
            _ => "inuse_space",
        };
        let default = self.string(default);
        self.message.unsigned(14, default);
    }

    fn sample(&mut self, frames: &[StackFrame], size_bytes: u64, values: Values) {
        let mut locations = Vec::new();
        // A location is one address: a call that was not inlined, behind those that were inlined into it.
        for group in frames.split_inclusive(|frame| !frame.inlined) {
            locations.push(self.location(group));
        }
        let mut label = Message::default();
        label.unsigned(1, self.string("bytes"));
        label.signed(3, size_bytes as i64);
        let mut sample = Message::default();
        sample.packed(1, locations);
        sample.packed(2, values.map(|value| value.round() as i64 as u64));
        sample.message(3, &label);
        self.message.message(2, &sample);
    }

    fn location(&mut self, group: &[StackFrame]) -> u64 {
        let lines: Vec<(u64, u32)> = group
            .iter()
            .map(|frame| (self.function(frame), frame.line))
            .collect();
        let next = self.locations.len() as u64 + 1;
        if let Some(id) = self.locations.get(&lines) {
            return *id;
        }
        let mut location = Message::default();
        location.unsigned(1, next);
        location.unsigned(2, MAPPING);
        for (function, number) in &lines {
            let mut line = Message::default();
            line.unsigned(1, *function);
            line.signed(2, i64::from(*number));
            location.message(4, &line);
        }
        self.message.message(4, &location);
        self.locations.insert(lines, next);
        next
    }

    fn function(&mut self, frame: &StackFrame) -> u64 {
        let key = (self.string(&frame.function), self.string(&frame.file));
        let next = self.functions.len() as u64 + 1;
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let mut function = Message::default();
        function.unsigned(1, next);
        function.unsigned(2, key.0);
        function.unsigned(3, key.0);
        function.unsigned(4, key.1);
        self.message.message(5, &function);
        self.functions.insert(key, next);
        next
    }

    fn value_type(&mut self, kind: &str, unit: &str) -> Message {
        let mut value_type = Message::default();
        value_type.unsigned(1, self.string(kind));
        value_type.unsigned(2, self.string(unit));
        value_type
    }

    fn string(&mut self, text: &str) -> u64 {
        if let Some(id) = self.string_ids.get(text) {
            return *id;
        }
        let id = self.strings.len() as u64;
        self.strings.push(text.to_owned());
        self.string_ids.insert(text.to_owned(), id);
        id
    }

    fn finish(mut self) -> Vec<u8> {
        for text in &self.strings {
            self.message.text(6, text);
        }
        self.message.into_bytes()
    }
}
