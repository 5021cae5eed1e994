//! Lines that never have more points than the screen can show, broken where data is missing.

use heaptide_analysis::views::Window;

use super::TimeScale;

/// Points that belong together: x in pixels, and the value.
pub type Segment = Vec<(f64, f64)>;

/// Keeps at most four points of each pixel column: the first, the lowest, the highest and the last, in
/// their order, so that no peak is lost. Breaks at `None` and at gaps.
pub fn segments(
    points: impl Iterator<Item = (u64, Option<f64>)>,
    scale: &TimeScale,
    gaps: &[Window],
) -> Vec<Segment> {
    let mut out: Vec<Segment> = Vec::new();
    let mut open: Segment = Vec::new();
    let mut column: Segment = Vec::new();
    let mut before_ns = None;
    for (at_ns, value) in points {
        let is_broken = before_ns.is_some_and(|before_ns| is_gap(gaps, before_ns, at_ns));
        before_ns = Some(at_ns);
        if is_broken || value.is_none_or(|value| !value.is_finite()) {
            close_column(&mut column, &mut open);
            if !open.is_empty() {
                out.push(std::mem::take(&mut open));
            }
        }
        let Some(value) = value.filter(|value| value.is_finite()) else {
            continue;
        };
        let x = scale.x(at_ns);
        if column.last().is_some_and(|&(last, _)| last.floor() != x.floor()) {
            close_column(&mut column, &mut open);
        }
        column.push((x, value));
    }
    close_column(&mut column, &mut open);
    if !open.is_empty() {
        out.push(open);
    }
    out
}

fn is_gap(gaps: &[Window], after_ns: u64, until_ns: u64) -> bool {
    gaps.iter()
        .any(|gap| gap.from_ns < until_ns && gap.to_ns > after_ns)
}

fn close_column(column: &mut Segment, open: &mut Segment) {
    if column.len() <= 4 {
        open.append(column);
        return;
    }
    let by_value = |a: &(usize, &(f64, f64)), b: &(usize, &(f64, f64))| a.1.1.total_cmp(&b.1.1);
    let lowest = column
        .iter()
        .enumerate()
        .min_by(by_value)
        .map_or(0, |(index, _)| index);
    let highest = column
        .iter()
        .enumerate()
        .max_by(by_value)
        .map_or(0, |(index, _)| index);
    let mut kept = [0, lowest.min(highest), lowest.max(highest), column.len() - 1].to_vec();
    kept.dedup();
    open.extend(kept.into_iter().map(|index| column[index]));
    column.clear();
}

/// Adds durations up per pixel column: x of the column and the sum, from left to right.
pub fn columns(spans: impl Iterator<Item = (u64, u64)>, scale: &TimeScale) -> Vec<(f64, u64)> {
    let mut out: Vec<(f64, u64)> = Vec::new();
    for (begin_ns, duration_ns) in spans {
        let x = scale.x(begin_ns).floor();
        match out.iter().rposition(|&(other, _)| other <= x) {
            Some(at) if out[at].0 == x => out[at].1 = out[at].1.saturating_add(duration_ns),
            // Spans come in order of their beginning or nearly so: the search from the right is short.
            at => out.insert(at.map_or(0, |at| at + 1), (x, duration_ns)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(width_px: f64) -> TimeScale {
        TimeScale {
            window: Window {
                from_ns: 0,
                to_ns: 1000,
            },
            left_px: 0.0,
            width_px,
        }
    }

    #[test]
    fn peaks_survive() {
        let value = |at_ns: u64| if at_ns == 555 { 99.0 } else { (at_ns % 7) as f64 };
        let points = (0..1000).map(|at_ns| (at_ns, Some(value(at_ns))));
        let got = segments(points, &scale(10.0), &[]);
        assert_eq!(got.len(), 1);
        assert!(got[0].len() <= 40, "{}", got[0].len());
        assert_eq!(got[0].iter().map(|point| point.1).fold(0.0, f64::max), 99.0);
        assert!(got[0].windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!((got[0][0], got[0][got[0].len() - 1]), ((0.0, 0.0), (9.99, 5.0)));
    }

    #[test]
    fn breaks() {
        let gap = Window {
            from_ns: 250,
            to_ns: 300,
        };
        let nothing = |at_ns: u64| (at_ns != 600 && at_ns != 700).then_some(1.0);
        for (gaps, expect) in [(&[][..], vec![6, 2]), (&[gap], vec![3, 3, 2])] {
            let points = (0..10).map(|step| (step * 100, nothing(step * 100)));
            let got = segments(points, &scale(1000.0), gaps);
            assert_eq!(got.iter().map(Vec::len).collect::<Vec<_>>(), expect);
        }
        let bad = [(0, Some(1.0)), (100, Some(f64::NAN)), (200, Some(2.0))];
        assert_eq!(
            segments(bad.into_iter(), &scale(1000.0), &[]),
            [vec![(0.0, 1.0)], vec![(200.0, 2.0)]]
        );
        assert!(segments(std::iter::empty(), &scale(10.0), &[]).is_empty());
    }

    #[test]
    fn durations_add_up_per_column() {
        let spans = [(0, 5), (4, 1), (100, 7), (99, 2), (999, 3)];
        assert_eq!(
            columns(spans.into_iter(), &scale(100.0)),
            [(0.0, 6), (9.0, 2), (10.0, 7), (99.0, 3)]
        );
    }
}
