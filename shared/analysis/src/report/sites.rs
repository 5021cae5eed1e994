//! Sums by call site, for tables: the frame nearest to the event that isn't the runtime's own.

use super::{Cell, Row};
use crate::Session;
use crate::kernel::Kept;
use crate::views::StackFrame;
use heaptide_protocol::{FrameId, StackId, SymbolGen};

/// What came from one call site.
#[derive(Debug)]
pub(super) struct Site {
    frame: Option<FrameId>,
    pub(super) symbol_gen: SymbolGen,
    stack: Option<StackId>,
    heaviest: u64,
    pub(super) count: u64,
    pub(super) sum: u64,
    pub(super) longest: u64,
}

/// Sums `weight` of each event by call site, the heaviest first.
pub(super) fn by_site<'a>(
    session: &Session,
    events: &mut dyn Iterator<Item = &'a Kept>,
    weight: fn(&Kept) -> u64,
) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for event in events {
        let (stack, symbol_gen) = (event.row.stack, event.symbol_gen);
        let frame = stack.and_then(|stack| session.symbols.stack(stack, symbol_gen).first().copied());
        let at = sites
            .iter()
            .position(|site| site.frame == frame && site.symbol_gen == symbol_gen)
            .unwrap_or_else(|| {
                sites.push(Site {
                    frame,
                    symbol_gen,
                    stack,
                    heaviest: 0,
                    count: 0,
                    sum: 0,
                    longest: 0,
                });
                sites.len() - 1
            });
        let weight = weight(event);
        let site = &mut sites[at];
        site.count += 1;
        site.sum += weight;
        site.longest = site.longest.max(weight);
        if weight > site.heaviest {
            (site.heaviest, site.stack) = (weight, stack);
        }
    }
    sites.sort_by_key(|site| std::cmp::Reverse(site.sum));
    sites
}

impl Site {
    /// Whether its stack holds `needle`, which is lower-case.
    pub(super) fn matches(&self, session: &Session, needle: &str) -> bool {
        let frames = self
            .stack
            .map(|stack| session.symbols.stack(stack, self.symbol_gen));
        session
            .symbols
            .matches(frames.unwrap_or_default(), self.symbol_gen, needle)
    }

    /// A row that begins with the site's name; its stack is behind it.
    pub(super) fn row(&self, session: &Session, mut cells: Vec<Cell>) -> Row {
        let frames = stack_of(session, self.stack, self.symbol_gen);
        let name = frames
            .first()
            .map_or("(no stack)", |frame| frame.function.as_str());
        cells.insert(0, Cell::Text(name.to_owned()));
        Row {
            cells,
            stacks: stacks("heaviest", frames),
        }
    }
}

pub(super) fn stack_of(session: &Session, stack: Option<StackId>, symbol_gen: SymbolGen) -> Vec<StackFrame> {
    let frames = stack.map(|stack| session.symbols.stack(stack, symbol_gen));
    frames
        .unwrap_or_default()
        .iter()
        .map(|frame| session.symbols.describe(*frame, symbol_gen))
        .collect()
}

/// The stacks of a row: one or none.
pub(super) fn stacks(what: &str, frames: Vec<StackFrame>) -> Vec<(String, Vec<StackFrame>)> {
    if frames.is_empty() {
        return Vec::new();
    }
    vec![(what.to_owned(), frames)]
}
