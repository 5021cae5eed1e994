//! Small graphs for tests, and a large one of a fixed shape.

use heaptide_analysis::views::{Figure, Flame, FlameNode};
use heaptide_protocol::session::Method;

/// From (function, depth, total), in pre-order.
pub(super) fn flame(nodes: &[(&str, u32, f64)]) -> Flame {
    let mut strings = vec!["file.go".to_owned()];
    let mut path: Vec<u32> = Vec::new();
    let mut out: Vec<FlameNode> = Vec::new();
    for &(function, depth, total_bytes) in nodes {
        let name = match strings.iter().position(|known| known == function) {
            Some(id) => id,
            None => {
                strings.push(function.to_owned());
                strings.len() - 1
            }
        };
        path.truncate(depth as usize);
        let index = out.len() as u32;
        let parent = path.last().copied().unwrap_or(index);
        path.push(index);
        out.push(FlameNode {
            parent,
            depth,
            function: name as u32,
            file: 0,
            line: 7,
            inlined: false,
            total_bytes,
            relative_error: 0.05,
            self_bytes: total_bytes,
            samples: 1,
        });
        if depth > 0 {
            out[parent as usize].self_bytes -= total_bytes;
        }
    }
    let total = out
        .iter()
        .filter(|node| node.depth == 0)
        .map(|node| node.total_bytes)
        .sum();
    Flame {
        total: Figure {
            value: total,
            low: total,
            high: total,
            method: Method::Exact,
        },
        samples: out.len() as u64,
        strings,
        nodes: out,
        merged_nodes: 0,
        hidden_bytes: 0.0,
    }
}

/// About this many nodes in a tree with heavy and light branches.
pub(super) fn large(count: usize) -> Flame {
    let names: Vec<String> = (0..200)
        .map(|id| format!("example.com/p{}.F{id}", id % 23))
        .collect();
    let mut rows: Vec<(&str, u32, f64)> = Vec::new();
    let mut state = 1_u64;
    grow(&names, &mut state, &mut rows, count, 0, 1e9);
    flame(&rows)
}

fn grow<'a>(
    names: &'a [String],
    state: &mut u64,
    rows: &mut Vec<(&'a str, u32, f64)>,
    count: usize,
    depth: u32,
    total: f64,
) {
    if count == 0 {
        return;
    }
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    rows.push((&names[(*state >> 33) as usize % names.len()], depth, total));
    let (mut left, mut share) = (count - 1, total * 0.9);
    while left > 0 {
        let part = (left / 2).max(1);
        share /= 2.0;
        grow(names, state, rows, part, depth + 1, share);
        left -= part;
    }
}
