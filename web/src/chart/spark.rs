//! The small line of a table row: the shape of the last minutes, without axes.

use crate::format::fixed;

/// An SVG path through at most as many values as the line is wide, from zero at the bottom to the largest
/// value at the top. Empty for fewer than two values.
pub fn spark_path(values: &[f64], width: f64, height: f64) -> String {
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

#[cfg(target_arch = "wasm32")]
pub(crate) use component::sparkline;

#[cfg(target_arch = "wasm32")]
mod component {
    use leptos::prelude::*;

    use super::spark_path;
    use crate::format::fixed;
    use crate::ui::text;

    const WIDTH: f64 = 96.0;
    const HEIGHT: f64 = 20.0;

    /// `label` says in words what the line shows: a screen reader reads it instead.
    pub(crate) fn sparkline(
        values: impl Fn() -> Vec<f64> + Copy + Send + 'static,
        label: &'static str,
    ) -> AnyView {
        let line = move || spark_path(&values(), WIDTH, HEIGHT);
        let area = move || match line() {
            path if path.is_empty() => path,
            path => format!("{path}L{0} {1}L0 {1}Z", fixed(WIDTH, 1), fixed(HEIGHT, 1)),
        };
        view! {
            <svg class="spark" role="img" aria-label=label width="96" height="20" viewBox="0 0 96 20">
                <path class="spark-area" d=text(area) />
                <path class="spark-line" d=text(line) />
            </svg>
        }
        .into_any()
    }
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
    fn a_spike_survives_a_thousand_values() {
        let mut values = vec![1.0; 1000];
        values[617] = 100.0;
        let path = spark_path(&values, 50.0, 20.0);
        assert_eq!(path.matches('L').count(), 49);
        assert!(path.contains(" 1.0L"), "{path}");
    }
}
