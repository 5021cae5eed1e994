//! The books of loss as lines: at every hop, what was seen, sent and dropped, and why.

use super::naming::{class_name, drop_words, flaw_words, hop_name};
use crate::format;
use crate::order::ranked;
use heaptide_protocol::loss::{DropReason, FlawCount, HopCount};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossLine {
    pub hop: &'static str,
    pub class: &'static str,
    pub seen: u64,
    pub sent: u64,
    /// Count and words, largest first; without those that are zero.
    pub dropped: Vec<(u64, &'static str)>,
    /// What the books fail to explain.
    pub imbalance: i128,
    /// Whether anything was lost that should not have been.
    pub is_loss: bool,
}

pub fn loss_lines(hops: &[HopCount]) -> Vec<LossLine> {
    hops.iter()
        .filter(|hop| hop.seen > 0)
        .map(|hop| {
            let counted: Vec<(u64, &'static str)> = hop
                .dropped
                .iter()
                .filter(|drop| drop.count > 0)
                .map(|drop| (drop.count, drop_words(drop.reason)))
                .collect();
            let order = ranked(counted.len(), &|a, b| counted[b].0.cmp(&counted[a].0));
            let dropped = order.iter().map(|at| counted[*at as usize]).collect();
            let expected = |reason| {
                matches!(
                    reason,
                    DropReason::UnmatchedFree | DropReason::RateChange | DropReason::SwitchedOff
                )
            };
            LossLine {
                hop: hop_name(hop.hop),
                class: class_name(hop.class),
                seen: hop.seen,
                sent: hop.sent,
                dropped,
                imbalance: hop.imbalance(),
                is_loss: hop
                    .dropped
                    .iter()
                    .any(|drop| drop.count > 0 && !expected(drop.reason)),
            }
        })
        .collect()
}

/// `12 samples without a stack`.
pub fn flaw_lines(flaws: &[FlawCount]) -> Vec<String> {
    flaws
        .iter()
        .filter(|flaw| flaw.count > 0)
        .map(|flaw| format!("{} {}", format::count(flaw.count), flaw_words(flaw.flaw)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::loss::{DropCount, Flaw, Hop};
    use heaptide_protocol::session::EventClass;

    #[test]
    fn lines_name_every_drop_and_judge_only_real_losses() {
        let hop = |seen, sent, drops: &[(DropReason, u64)]| HopCount {
            hop: Hop::Kernel,
            class: EventClass::Allocation,
            seen,
            sent,
            dropped: drops
                .iter()
                .map(|(reason, count)| DropCount {
                    reason: *reason,
                    count: *count,
                })
                .collect(),
        };
        let lines = loss_lines(&[
            hop(0, 0, &[]),
            hop(10, 10, &[(DropReason::RingFull, 0)]),
            hop(10, 7, &[(DropReason::UnmatchedFree, 3)]),
            hop(
                10,
                4,
                &[(DropReason::RingFull, 1), (DropReason::UnmatchedFree, 3)],
            ),
        ]);
        assert_eq!(
            lines.iter().map(|line| line.is_loss).collect::<Vec<_>>(),
            [false, false, true]
        );
        assert_eq!(
            lines.iter().map(|line| line.imbalance).collect::<Vec<_>>(),
            [0, 0, 2]
        );
        assert_eq!(
            lines[2].dropped,
            [
                (3, "frees of objects sampled before Heaptide came"),
                (1, "the ring buffer was full")
            ]
        );
    }

    #[test]
    fn flaws_are_counted_in_words() {
        let flaw = |flaw, count| FlawCount { flaw, count };
        let got = flaw_lines(&[flaw(Flaw::StackMissing, 1_200), flaw(Flaw::ClockHeld, 0)]);
        assert_eq!(got, ["1,200 samples without a stack"]);
    }
}
