//! Values as a person reads them, so that no reader of the API needs to know units.

use super::rule::FigureUnit;

/// `12.3 MiB`, `±` its error if it has one.
pub(crate) fn told(value: f64, error: Option<f64>, unit: FigureUnit) -> String {
    let text = one(value, unit);
    match error {
        Some(error) => format!("{text} \u{b1} {}", one(error, unit)),
        None => text,
    }
}

fn one(value: f64, unit: FigureUnit) -> String {
    const SIZES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    const TIMES: [&str; 4] = ["ns", "\u{b5}s", "ms", "s"];
    match unit {
        FigureUnit::Bytes => scaled(value, 1024.0, &SIZES),
        FigureUnit::BytesPerSecond => format!("{}/s", scaled(value, 1024.0, &SIZES)),
        FigureUnit::Nanoseconds => scaled(value, 1000.0, &TIMES),
        FigureUnit::Count => format!("{value:.0}"),
        FigureUnit::Share => format!("{} %", digits(value * 100.0)),
    }
}

fn scaled(value: f64, step: f64, units: &[&str]) -> String {
    let (mut value, mut at) = (value, 0);
    while value.abs() >= step - 0.5 && at + 1 < units.len() {
        value /= step;
        at += 1;
    }
    format!("{} {}", digits(value), units.get(at).copied().unwrap_or_default())
}

/// Three that count, without zeros behind the point.
fn digits(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_with_units() {
        for (value, error, unit, expected) in [
            (0.0, None, FigureUnit::Bytes, "0 B"),
            (1536.0, Some(102.4), FigureUnit::Bytes, "1.5 KiB \u{b1} 102 B"),
            (1_048_576.0, None, FigureUnit::BytesPerSecond, "1 MiB/s"),
            (-2048.0, None, FigureUnit::BytesPerSecond, "-2 KiB/s"),
            (12.0, None, FigureUnit::Count, "12"),
            (1_234_567.0, None, FigureUnit::Nanoseconds, "1.23 ms"),
            (0.055, None, FigureUnit::Share, "5.5 %"),
            (f64::INFINITY, None, FigureUnit::Bytes, "inf PiB"),
        ] {
            assert_eq!(told(value, error, unit), expected);
        }
    }
}
