//! Collapsed stacks: `root;caller;leaf bytes`, a line for each stack, in the order of their text.
//!
//! Left out: files, lines and counts of objects, which the format has no place for.

use super::{ExportQuery, counted};
use crate::Recording;
use std::collections::BTreeMap;

pub(super) fn write(recording: &Recording, query: &ExportQuery) -> Vec<u8> {
    let mut stacks: BTreeMap<String, f64> = BTreeMap::new();
    for row in recording.session.samples(query.window) {
        let count = counted(&row, query.metric);
        if count > 0 {
            // Type arguments may hold what separates frames here: `go.shape.struct { a int; b int }`.
            let names = row
                .frames
                .iter()
                .rev()
                .map(|frame| frame.function.replace(';', ","));
            let line = names.collect::<Vec<_>>().join(";");
            *stacks.entry(line).or_default() += row.weight() * count as f64 * row.size_bytes as f64;
        }
    }
    let mut out = String::new();
    for (stack, bytes) in stacks {
        out.push_str(&format!("{stack} {bytes:.0}\n"));
    }
    out.into_bytes()
}
