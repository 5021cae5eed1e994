//! Go's own dump of all goroutines (`runtime.Stack`), read.

use std::collections::BTreeMap;

/// A goroutine as the runtime tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// `chan receive`, `syscall`, `running`.
    pub(crate) state: String,
    /// Function and line of each call in package main, innermost first.
    pub(crate) calls: Vec<(String, u32)>,
    /// Function and line of the `go` statement.
    pub(crate) creator: Option<(String, u32)>,
}

/// By id.
pub(crate) fn parse(dump: &str) -> BTreeMap<u64, Told> {
    dump.trim().split("\n\n").map(goroutine).collect()
}

fn goroutine(text: &str) -> (u64, Told) {
    let mut lines = text.lines();
    let head = lines.next().expect("a head");
    let (id, state) = head
        .strip_prefix("goroutine ")
        .and_then(|rest| rest.split_once(" ["))
        .unwrap_or_else(|| panic!("no head of a goroutine: {head:?}"));
    // `chan receive, 2 minutes]:`
    let state = state.split([',', ']']).next().unwrap_or_default();
    let mut told = Told {
        state: state.to_owned(),
        calls: Vec::new(),
        creator: None,
    };
    while let (Some(call), Some(place)) = (lines.next(), lines.next()) {
        let line = place
            .trim()
            .split([':', ' '])
            .nth(1)
            .and_then(|line| line.parse().ok())
            .unwrap_or_else(|| panic!("no line in {place:?}"));
        if let Some(creator) = call.strip_prefix("created by ") {
            let function = creator.split(" in goroutine").next().unwrap_or_default();
            told.creator = Some((function.to_owned(), line));
            continue;
        }
        // Arguments follow the last parenthesis that opens; methods have some before.
        let function = call.rfind('(').map_or(call, |at| &call[..at]);
        if function.starts_with("main.") {
            told.calls.push((function.to_owned(), line));
        }
    }
    (id.parse().expect("an id"), told)
}
