//! The small line of a table row: the shape of the last minutes, without axes.

use crate::format::fixed;

/// An SVG path through at most as many values as the line is wide, from zero at the bottom to the largest
/// value at the top. Empty for fewer than two values.
fn spark_path(values: &[f64], width: f64, height: f64) -> String {
    if values.len() < 2 {
        return String::new();
    }
    let columns = (width.max(2.0) as usize).min(values.len());
    let top = values
        .iter()
        .copied()
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    let mut path = String::with_capacity(columns * 10);
    for column in 0..columns {
        let from = column * values.len() / columns;
        let to = ((column + 1) * values.len() / columns).max(from + 1);
        // The peak of each column: a spike is what one looks for.
        let value = values[from..to].iter().copied().fold(0.0, f64::max);
        let share = if top > 0.0 { value / top } else { 0.0 };
        // Half the line's width stays free above and below.
        let (x, y) = (
            column as f64 / (columns - 1) as f64 * width,
            1.0 + (height - 2.0) * (1.0 - share),
        );
        path.push(if column == 0 { 'M' } else { 'L' });
        path.push_str(&fixed(x, 1));
        path.push(' ');
        path.push_str(&fixed(y, 1));
    }
    path
}

/// The line and the area under it as markup. `label` says in words what they show: a screen reader reads it instead.
pub fn spark(values: &[f64], label: &str) -> String {
    const WIDTH: f64 = 96.0;
    const HEIGHT: f64 = 20.0;
    let line = spark_path(values, WIDTH, HEIGHT);
    let area = match line.as_str() {
        "" => "",
        _ => "L96 20L0 20Z",
    };
    format!(
        "<svg class=\"spark\" role=\"img\" aria-label=\"{label}\" width=\"96\" height=\"20\" viewBox=\"0 0 96 20\"><path \
         class=\"spark-area\" d=\"{line}{area}\"/><path class=\"spark-line\" d=\"{line}\"/></svg>"
    )
}

/// The values of all whole steps from one moment to another, of points that are in order and tell where their step
/// begins. A step without a point is zero: nothing was summed up in it.
pub fn steps(points: &[(f64, f64)], from: f64, to: f64, step: f64) -> Vec<f64> {
    const MOST: f64 = 1000.0;
    let first = (from / step).ceil() * step;
    let mut values = vec![0.0; ((to - first) / step).clamp(0.0, MOST) as usize];
    for (at, value) in points {
        let at = (at - first) / step;
        if at >= 0.0
            && let Some(place) = values.get_mut(at as usize)
        {
            *place = *value;
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (values, expect) in [
            (&[][..], ""),
            (&[1.0], ""),
            (&[0.0, 10.0, 5.0], "M0.0 11.0L5.0 1.0L10.0 6.0"),
            (&[0.0, 0.0], "M0.0 11.0L10.0 11.0"),
            (&[f64::NAN, 4.0], "M0.0 11.0L10.0 1.0"),
        ] {
            assert_eq!(spark_path(values, 10.0, 12.0), expect, "{values:?}");
        }
    }

    #[test]
    fn an_area_is_closed_at_the_bottom_and_nothing_has_none() {
        let markup = spark(&[1.0, 1.0], "Live heap");
        assert!(
            markup.contains("d=\"M0.0 1.0L96.0 1.0L96 20L0 20Z\"")
                && markup.contains("aria-label=\"Live heap\""),
            "{markup}"
        );
        assert_eq!(spark(&[], "").matches("d=\"\"").count(), 2);
    }

    #[test]
    fn points_stand_where_their_time_is() {
        let points = [(100.0, 1.0), (105.0, 2.0), (115.0, 4.0), (120.0, 9.0)];
        for (from, to, step, expected) in [
            // 120 is not over yet, 100 has begun before.
            (101.0, 124.0, 5.0, &[2.0, 0.0, 4.0][..]),
            (100.0, 125.0, 5.0, &[1.0, 2.0, 0.0, 4.0, 9.0]),
            (200.0, 210.0, 5.0, &[0.0, 0.0]),
            (120.0, 100.0, 5.0, &[]),
            (0.0, f64::NAN, 0.0, &[]),
        ] {
            assert_eq!(steps(&points, from, to, step), expected, "{from} to {to}");
        }
    }

    #[test]
    fn a_spike_survives_a_thousand_values() {
        let mut values = vec![1.0; 1000];
        values[617] = 100.0;
        let path = spark_path(&values, 50.0, 20.0);
        assert_eq!(path.matches('L').count(), 49);
        assert!(path.contains(" 1.0L"), "{path}");
    }
}
