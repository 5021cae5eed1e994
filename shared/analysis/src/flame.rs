//! Stacks into an icicle, and stacks into call sites.

use crate::estimate::Tally;
use crate::lifetimes::StackTally;
use crate::order::{rank, ranked};
use crate::symbols::Symbols;
use crate::views::{Flame, FlameNode, SiteRow, SiteTable, StackFrame};
use heaptide_protocol::FrameId;
use std::collections::HashMap;

const MAX_STACK_FRAMES_SHOWN: usize = 64;

#[derive(Debug)]
struct Node {
    parent: u32,
    depth: u32,
    function: u32,
    file: u32,
    line: u32,
    inlined: bool,
    total: Tally,
    own: f64,
    children: Vec<u32>,
}

/// Strings by first use.
#[derive(Debug, Default)]
struct Interner {
    index: HashMap<String, u32>,
    strings: Vec<String>,
}

impl Interner {
    fn id(&mut self, text: &str) -> u32 {
        if let Some(id) = self.index.get(text) {
            return *id;
        }
        let id = self.strings.len() as u32;
        self.strings.push(text.to_owned());
        self.index.insert(text.to_owned(), id);
        id
    }
}

/// `stacks` heaviest first, so that a node's line is that of its heaviest stack.
pub(crate) fn flame(
    stacks: &[StackTally],
    symbols: &Symbols,
    filter: &str,
    limit: u32,
    rate_bytes: u64,
) -> Flame {
    let needle = filter.to_ascii_lowercase();
    let mut interner = Interner::default();
    let mut nodes: Vec<Node> = Vec::new();
    let mut edges: HashMap<(u32, u32, u32), u32> = HashMap::new();
    let mut roots: Vec<u32> = Vec::new();
    let mut total = Tally::default();
    let mut hidden_bytes = 0.0;
    for entry in stacks {
        let frames = symbols.stack(entry.stack, entry.generation);
        if !symbols.matches(frames, entry.generation, &needle) {
            hidden_bytes += entry.tally.bytes.estimate;
            continue;
        }
        total = total.plus(&entry.tally);
        let mut parent: Option<u32> = None;
        let unknown = [FrameId(u32::MAX)];
        let path = if frames.is_empty() { &unknown[..] } else { frames };
        for (depth, frame) in path.iter().rev().enumerate() {
            let described = symbols.describe(*frame, entry.generation);
            let (function, file) = (interner.id(&described.function), interner.id(&described.file));
            let key = (parent.unwrap_or(u32::MAX), function, file);
            let at = *edges.entry(key).or_insert_with(|| {
                let at = nodes.len() as u32;
                match parent {
                    Some(parent) => nodes[parent as usize].children.push(at),
                    None => roots.push(at),
                }
                nodes.push(Node {
                    parent: parent.unwrap_or(at),
                    depth: depth as u32,
                    function,
                    file,
                    line: described.line,
                    inlined: described.inlined,
                    total: Tally::default(),
                    own: 0.0,
                    children: Vec::new(),
                });
                at
            });
            let node = &mut nodes[at as usize];
            node.total = node.total.plus(&entry.tally);
            parent = Some(at);
        }
        if let Some(leaf) = parent {
            nodes[leaf as usize].own += entry.tally.bytes.estimate;
        }
    }
    let (order, merged_nodes) = pre_order(&mut nodes, roots, limit);
    let mut position = vec![0_u32; nodes.len()];
    for (at, node) in order.iter().enumerate() {
        position[*node as usize] = at as u32;
    }
    let rows = order
        .iter()
        .map(|at| {
            let node = &nodes[*at as usize];
            FlameNode {
                parent: position[node.parent as usize],
                depth: node.depth,
                function: node.function,
                file: node.file,
                line: node.line,
                inlined: node.inlined,
                total_bytes: node.total.bytes.estimate,
                relative_error: node.total.bytes.relative_error(),
                self_bytes: node.own,
                samples: node.total.samples.unsigned_abs(),
            }
        })
        .collect();
    Flame {
        total: total.bytes_figure(rate_bytes),
        samples: total.samples.unsigned_abs(),
        strings: interner.strings,
        nodes: rows,
        merged_nodes,
        hidden_bytes,
    }
}

/// The `limit` heaviest nodes in pre-order; a parent weighs at least as much as its child, so none is cut off.
fn pre_order(nodes: &mut [Node], mut roots: Vec<u32>, limit: u32) -> (Vec<u32>, u64) {
    let weight: Vec<f64> = nodes.iter().map(|node| node.total.bytes.estimate).collect();
    let heavier = |a: usize, b: usize| weight[b].total_cmp(&weight[a]).then(a.cmp(&b));
    let by_weight = ranked(nodes.len(), &|a, b| {
        weight[b]
            .total_cmp(&weight[a])
            .then(nodes[a].depth.cmp(&nodes[b].depth))
    });
    let kept_count = by_weight.len().min(limit.max(1) as usize);
    let mut kept = vec![false; nodes.len()];
    for at in &by_weight[..kept_count] {
        kept[*at as usize] = true;
    }
    rank(&mut roots, &heavier);
    let mut order = Vec::with_capacity(kept_count);
    let mut stack: Vec<u32> = roots.into_iter().rev().collect();
    while let Some(at) = stack.pop() {
        if !kept[at as usize] {
            continue;
        }
        order.push(at);
        let children = &mut nodes[at as usize].children;
        rank(children, &heavier);
        stack.extend(children.iter().rev());
    }
    let merged = (nodes.len() - order.len()) as u64;
    (order, merged)
}

/// Function, file and line of a call site.
pub(crate) type SiteKey = (String, String, u32);
/// Sums, heaviest stack, number of stacks.
pub(crate) type SiteSums = (Tally, StackTally, u32);

/// The sums of all, and of each call site, in no order. `stacks` has the heaviest first.
pub(crate) fn by_site(
    stacks: &[StackTally],
    symbols: &Symbols,
    filter: &str,
) -> (Tally, Vec<(SiteKey, SiteSums)>) {
    let needle = filter.to_ascii_lowercase();
    let mut groups: HashMap<SiteKey, SiteSums> = HashMap::new();
    let mut total = Tally::default();
    for entry in stacks {
        let frames = symbols.stack(entry.stack, entry.generation);
        if !symbols.matches(frames, entry.generation, &needle) {
            continue;
        }
        total = total.plus(&entry.tally);
        let leaf = symbols.describe(
            frames.first().copied().unwrap_or(FrameId(u32::MAX)),
            entry.generation,
        );
        let group = groups
            .entry((leaf.function, leaf.file, leaf.line))
            .or_insert_with(|| (Tally::default(), *entry, 0));
        group.0 = group.0.plus(&entry.tally);
        group.2 += 1;
    }
    (total, groups.into_iter().collect())
}

/// As much of a stack as a person reads, leaf first.
pub(crate) fn frames_shown(entry: &StackTally, symbols: &Symbols) -> Vec<StackFrame> {
    symbols
        .stack(entry.stack, entry.generation)
        .iter()
        .take(MAX_STACK_FRAMES_SHOWN)
        .map(|frame| symbols.describe(*frame, entry.generation))
        .collect()
}

/// Bytes and objects by call site: the frame nearest to the allocation that isn't the runtime's.
pub(crate) fn sites(
    stacks: &[StackTally],
    symbols: &Symbols,
    filter: &str,
    limit: u32,
    rate_bytes: u64,
) -> SiteTable {
    let (total, groups) = by_site(stacks, symbols, filter);
    let order = ranked(groups.len(), &|a, b| {
        let ((a_key, (a, ..)), (b_key, (b, ..))) = (&groups[a], &groups[b]);
        b.bytes
            .estimate
            .total_cmp(&a.bytes.estimate)
            .then_with(|| a_key.cmp(b_key))
    });
    let keep = order.len().min(limit.max(1) as usize);
    let other_bytes = order[keep..]
        .iter()
        .map(|at| groups[*at as usize].1.0.bytes.estimate)
        .sum();
    let other_sites = (order.len() - keep) as u64;
    let whole = total.bytes.estimate.max(f64::MIN_POSITIVE);
    let rows = order[..keep]
        .iter()
        .map(|at| &groups[*at as usize])
        .map(
            |((function, file, line), (tally, heaviest, stack_count))| SiteRow {
                function: function.clone(),
                file: file.clone(),
                line: *line,
                bytes: tally.bytes_figure(rate_bytes),
                objects: tally.objects_figure(),
                samples: tally.samples.unsigned_abs(),
                share: tally.bytes.estimate / whole,
                heaviest_stack: frames_shown(heaviest, symbols),
                stacks: *stack_count,
            },
        )
        .collect();
    SiteTable {
        total: total.bytes_figure(rate_bytes),
        rows,
        other_sites,
        other_bytes,
    }
}
