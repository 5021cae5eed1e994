//! Which ticks of which levels make up a stretch of time: wide ones inside, narrow ones at its edges, so that sums over
//! a day read hardly more rows than sums over a minute.

use heaptide_analysis::levels::LEVELS_NS;
use std::ops::Range;

/// A level and the begins of its ticks.
pub(super) type Piece = (usize, Range<u64>);

/// In the order of time. `finest` is a level whose ticks both ends lie between; an end at `u64::MAX` is open.
pub(super) fn cover(wanted: Range<u64>, finest: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    add(wanted, finest, &mut pieces);
    pieces
}

fn add(wanted: Range<u64>, finest: usize, pieces: &mut Vec<Piece>) {
    if wanted.is_empty() {
        return;
    }
    for (level, width_ns) in LEVELS_NS.into_iter().enumerate().skip(finest).rev() {
        let Some(first_ns) = wanted.start.checked_next_multiple_of(width_ns) else {
            continue;
        };
        let last_ns = match wanted.end {
            u64::MAX => u64::MAX,
            end_ns => end_ns - end_ns % width_ns,
        };
        if first_ns < last_ns {
            add(wanted.start..first_ns, finest, pieces);
            pieces.push((level, first_ns..last_ns));
            add(last_ns..wanted.end, finest, pieces);
            return;
        }
    }
    // Less than a tick, at an end that lies within one.
    pieces.push((finest, wanted));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HOUR: u64 = 3_600 * SECOND;

    #[test]
    fn stretches_as_a_table() {
        let cases = [
            (0..0, 0, vec![]),
            (0..HOUR, 0, vec![(5, 0..HOUR)]),
            (0..u64::MAX, 0, vec![(5, 0..u64::MAX)]),
            (0..2 * SECOND, 0, vec![(1, 0..2 * SECOND)]),
            (
                SECOND / 10..2 * SECOND,
                0,
                vec![(0, SECOND / 10..SECOND), (1, SECOND..2 * SECOND)],
            ),
            (
                HOUR - 3 * SECOND..HOUR + 70 * SECOND,
                1,
                vec![
                    (1, HOUR - 3 * SECOND..HOUR),
                    (3, HOUR..HOUR + 60 * SECOND),
                    (2, HOUR + 60 * SECOND..HOUR + 70 * SECOND),
                ],
            ),
            (
                1_790 * SECOND..u64::MAX,
                2,
                vec![
                    (2, 1_790 * SECOND..1_800 * SECOND),
                    (4, 1_800 * SECOND..HOUR),
                    (5, HOUR..u64::MAX),
                ],
            ),
        ];
        for (wanted, finest, expected) in cases {
            assert_eq!(
                cover(wanted.clone(), finest),
                expected,
                "{wanted:?} from level {finest}"
            );
        }
    }

    #[test]
    fn pieces_lie_end_to_end_whatever_is_asked_for() {
        let mut seed = 1_u64;
        for _ in 0..1_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let finest = (seed >> 60) as usize % LEVELS_NS.len();
            let width_ns = LEVELS_NS[finest];
            let start = (seed >> 20) % 100_000 * width_ns;
            let end = start + (seed >> 40) % 100_000 * width_ns;
            let pieces = cover(start..end, finest);
            let mut at = start;
            for (level, piece) in &pieces {
                assert!(*level >= finest && !piece.is_empty());
                assert_eq!(piece.start, at);
                assert_eq!(piece.start % LEVELS_NS[*level], 0);
                at = piece.end;
            }
            assert_eq!(at, end);
            assert!(pieces.len() <= 2 * LEVELS_NS.len(), "{pieces:?}");
        }
    }
}
