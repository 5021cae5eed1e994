//! Numbers as people read them: sizes, rates, counts, durations, shares, errors, times.
//!
//! One form everywhere, whatever the locale: a point for decimals, a comma between thousands, a space
//! before the unit, `−` for minus. Sizes step by 1024 and say so (`KiB`). Three significant digits, since a
//! sampled figure seldom has more. Integers do the work: the standard float formatting is not linked into
//! the wasm module for it.

use heaptide_analysis::report::Unit;
use heaptide_analysis::views::Figure;
use heaptide_protocol::session::Method;

/// How session time is shown: from `zero_ns`, and as time of day where the wall clock is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TimeBase {
    /// The session time that reads as zero.
    pub zero_ns: u64,
    /// Wall time at `zero_ns`, since 1970 in UTC.
    pub unix_zero_ns: Option<u64>,
    /// What the viewer's time zone adds to UTC.
    pub utc_offset_minutes: i32,
}

/// `1.23 MiB`; whole bytes below 1 KiB.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let size = value.abs();
    if !size.is_finite() {
        return "unknown".to_owned();
    }
    if size < 1023.5 {
        return sign(value, &format!("{} B", rounded(size)));
    }
    let mut scaled = size / 1024.0;
    let mut unit = 0;
    while scaled >= 1023.5 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    sign(value, &format!("{} {}", significant(scaled), UNITS[unit]))
}

/// Like [`bytes`], for round sizes: `64 MiB`, `1.5 GiB`, `0`.
pub fn round_bytes(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let text = bytes(value);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

/// `1.23 MiB/s`.
pub fn bytes_per_s(value: f64) -> String {
    let mut text = bytes(value);
    text.push_str("/s");
    text
}

/// `+1.23 MiB`, `−1.23 MiB`, `0 B`.
pub fn signed_bytes(value: f64) -> String {
    let text = bytes(value);
    if value >= 0.5 { format!("+{text}") } else { text }
}

/// `1,234,567 B`.
pub fn bytes_exact(value: u64) -> String {
    let mut text = count(value);
    text.push_str(" B");
    text
}

/// `12,345`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 k`, `4.56 M`; whole numbers below a thousand.
pub fn count_short(value: f64) -> String {
    const UNITS: [&str; 4] = ["k", "M", "G", "T"];
    let size = value.abs();
    if !size.is_finite() {
        return "unknown".to_owned();
    }
    if size < 999.5 {
        return sign(value, &rounded(size).to_string());
    }
    let mut scaled = size / 1000.0;
    let mut unit = 0;
    while scaled >= 999.5 && unit + 1 < UNITS.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    sign(value, &format!("{} {}", significant(scaled), UNITS[unit]))
}

/// `850 ns`, `1.23 µs`, `45.6 ms`, `7.89 s`, `2 min 5 s`, `3 h 4 min`, `2 d 3 h`.
pub fn duration(ns: u64) -> String {
    let seconds = ns / 1_000_000_000;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..999_500 => format!("{} µs", significant(ns as f64 / 1e3)),
        999_500..999_500_000 => format!("{} ms", significant(ns as f64 / 1e6)),
        999_500_000..60_000_000_000 => format!("{} s", significant(ns as f64 / 1e9)),
        _ if seconds < 3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds < 86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Of a share from 0 to 1: `4.2 %`, `42 %`, `<0.1 %`.
pub fn percent(share: f64) -> String {
    sign(share, &percentage(share.abs()))
}

/// Of half an interval's width as a share of the value: `±4.2 %`.
pub fn relative_error(share: f64) -> String {
    if share.is_nan() || share >= 10.0 {
        return "±>999 %".to_owned();
    }
    format!("±{}", percentage(share.abs()))
}

/// Of an estimated sum, at 99 % as everywhere; nothing of nothing.
pub fn error_words(value: f64, std_error: f64) -> String {
    if value > 0.0 {
        relative_error(2.576 * std_error / value)
    } else {
        String::new()
    }
}

/// A figure's error in a word or a number: `exact`, `±4.2 %`; of nothing there is no share.
pub fn error_of(figure: &Figure) -> String {
    if figure.method == Method::Exact {
        return "exact".to_owned();
    }
    let half = (figure.high - figure.low).abs() / 2.0;
    if figure.value == 0.0 && figure.method != Method::Census {
        return "none seen".to_owned();
    }
    if half == 0.0 {
        return match figure.method {
            Method::Census => "as read".to_owned(),
            _ => "±0 %".to_owned(),
        };
    }
    relative_error(half / figure.value.abs())
}

/// A number of a table. Moments are told from the base's zero.
pub fn in_unit(base: TimeBase, unit: Unit, value: f64) -> String {
    if !value.is_finite() {
        return "unknown".to_owned();
    }
    let whole = rounded(value.abs());
    match unit {
        Unit::Text | Unit::Count => sign(value, &count(whole)),
        Unit::Bytes => bytes(value),
        Unit::BytesPerSecond => bytes_per_s(value),
        Unit::Nanos => sign(value, &duration(whole)),
        Unit::Moment => elapsed(base, whole),
        Unit::Share => percent(value),
        Unit::Address => format!("{whole:#x}"),
    }
}

/// A figure's error as [`error_of`] has it; its interval's ends where a share of the value says little.
pub fn interval_in(base: TimeBase, unit: Unit, figure: &Figure) -> String {
    let half = (figure.high - figure.low).abs() / 2.0;
    if figure.method == Method::Exact || half <= figure.value.abs() / 2.0 {
        return error_of(figure);
    }
    let end = |value| in_unit(base, unit, value);
    format!("{} to {}", end(figure.low), end(figure.high))
}

/// `exact`, `sampled, 1 per 512 KiB`, `read from the system`, `computed`.
pub fn method(method: &Method) -> String {
    match method {
        Method::Exact => "exact".to_owned(),
        Method::Sampled { rate_bytes: 0 } => "sampling off".to_owned(),
        Method::Sampled { rate_bytes } => format!("sampled, 1 per {}", round_bytes(*rate_bytes as f64)),
        Method::Census => "read from the system".to_owned(),
        Method::Estimate => "computed".to_owned(),
    }
}

/// Time since the base's zero, to tenths of a second: `0:03.4`, `12:03.4`, `1:02:03`.
pub fn elapsed(base: TimeBase, at_ns: u64) -> String {
    elapsed_to(base, at_ns, 100_000_000)
}

/// Like [`elapsed`], with no more decimals than `step_ns` needs.
pub fn elapsed_to(base: TimeBase, at_ns: u64, step_ns: u64) -> String {
    let (early, distance_ns) = if at_ns < base.zero_ns {
        (true, base.zero_ns - at_ns)
    } else {
        (false, at_ns - base.zero_ns)
    };
    let (text, shown_zero) = stopwatch(distance_ns, step_ns);
    if early && !shown_zero {
        format!("−{text}")
    } else {
        text
    }
}

/// Time of day where the viewer is, to tenths of a second: `14:03:22.1`.
pub fn clock(base: TimeBase, at_ns: u64) -> Option<String> {
    clock_to(base, at_ns, 100_000_000)
}

/// Like [`clock`], with no more decimals than `step_ns` needs.
pub fn clock_to(base: TimeBase, at_ns: u64, step_ns: u64) -> Option<String> {
    const DAY_NS: i64 = 86_400_000_000_000;
    let day_ns = |ns: u64| (ns % DAY_NS as u64) as i64;
    let shift_ns = i64::from(base.utc_offset_minutes % 1440) * 60_000_000_000;
    let unix_ns = day_ns(base.unix_zero_ns?) + day_ns(at_ns) - day_ns(base.zero_ns) + shift_ns;
    let (seconds, fraction) = split_seconds(unix_ns.rem_euclid(DAY_NS) as u64, step_ns);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(format!("{hour:02}:{minute:02}:{second:02}{fraction}"))
}

/// The number and the unit of any text made here: `("1.23", "MiB")`.
pub fn split(text: &str) -> (&str, &str) {
    text.rsplit_once(' ').unwrap_or((text, ""))
}

/// A number with this many decimals, for style attributes and ticks.
pub fn fixed(value: f64, decimals: u32) -> String {
    let scale = 10_u64.pow(decimals.min(9));
    let scaled = rounded(value.abs() * scale as f64);
    let (whole, rest) = (scaled / scale, scaled % scale);
    let digits = if decimals == 0 {
        whole.to_string()
    } else {
        format!("{whole}.{rest:0width$}", width = decimals.min(9) as usize)
    };
    if value < 0.0 && scaled > 0 {
        format!("-{digits}")
    } else {
        digits
    }
}

/// A length for a style attribute: `12.5px`.
pub fn px(value: f64) -> String {
    let mut text = fixed(value, 2);
    text.push_str("px");
    text
}

fn percentage(share: f64) -> String {
    let percent = share * 100.0;
    if share == 0.0 {
        "0 %".to_owned()
    } else if percent < 0.05 {
        "<0.1 %".to_owned()
    } else if percent < 9.95 {
        format!("{} %", fixed(percent, 1))
    } else {
        format!("{} %", rounded(percent))
    }
}

/// Three significant digits of a number from 1 on; four where the whole part has four.
fn significant(value: f64) -> String {
    match value {
        _ if value < 9.995 => fixed(value, 2),
        _ if value < 99.95 => fixed(value, 1),
        _ => fixed(value, 0),
    }
}

fn stopwatch(ns: u64, step_ns: u64) -> (String, bool) {
    let (seconds, fraction) = split_seconds(ns, step_ns);
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let text = if hours > 0 {
        // Beyond an hour tenths are noise, unless the step asks for finer.
        let fraction = if step_ns < 100_000_000 {
            fraction.as_str()
        } else {
            ""
        };
        format!("{hours}:{minutes:02}:{rest:02}{fraction}")
    } else {
        format!("{minutes}:{rest:02}{fraction}")
    };
    (
        text,
        seconds == 0 && fraction.bytes().all(|byte| byte == b'.' || byte == b'0'),
    )
}

/// Whole seconds and the decimals that a step of this size needs, with the point.
fn split_seconds(ns: u64, step_ns: u64) -> (u64, String) {
    let decimals = match step_ns {
        0..1_000 => 9,
        1_000..1_000_000 => 6,
        1_000_000..10_000_000 => 3,
        10_000_000..100_000_000 => 2,
        100_000_000..1_000_000_000 => 1,
        _ => 0,
    };
    let unit = 10_u64.pow(9 - decimals);
    // Cut, not rounded: a clock that reads 12:59 is not yet one o'clock.
    let units = ns / unit;
    let scale = 10_u64.pow(decimals);
    let fraction = if decimals == 0 {
        String::new()
    } else {
        format!(".{:0width$}", units % scale, width = decimals as usize)
    };
    (units / scale, fraction)
}

fn rounded(value: f64) -> u64 {
    // `as` saturates, so that no value is out of bounds.
    (value + 0.5).floor() as u64
}

fn sign(value: f64, text: &str) -> String {
    if value < 0.0 && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) {
        format!("−{text}")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: TimeBase = TimeBase {
        zero_ns: 5_000_000_000,
        unix_zero_ns: Some(86_399_950_000_000),
        utc_offset_minutes: 120,
    };

    #[test]
    fn sizes() {
        for (value, expect) in [
            (0.0, "0 B"),
            (-0.2, "0 B"),
            (1.0, "1 B"),
            (1023.0, "1023 B"),
            (1023.6, "1.00 KiB"),
            (1024.0, "1.00 KiB"),
            (1536.0, "1.50 KiB"),
            (10_239.0, "10.0 KiB"),
            (102_348.0, "99.9 KiB"),
            (102_390.0, "100 KiB"),
            (1_048_000.0, "1023 KiB"),
            (1_048_576.0, "1.00 MiB"),
            (-1_048_576.0, "−1.00 MiB"),
            (5.5 * 1024.0 * 1024.0 * 1024.0, "5.50 GiB"),
            (1e24, "867362 EiB"),
            (f64::NAN, "unknown"),
            (f64::INFINITY, "unknown"),
        ] {
            assert_eq!(bytes(value), expect, "{value}");
        }
        for (value, expect) in [
            (0.0, "0"),
            (65536.0, "64 KiB"),
            (1.5 * 1024.0, "1.5 KiB"),
            (100.0, "100 B"),
        ] {
            assert_eq!(round_bytes(value), expect);
        }
        assert_eq!(bytes_per_s(2048.0), "2.00 KiB/s");
        assert_eq!(signed_bytes(2048.0), "+2.00 KiB");
        assert_eq!(signed_bytes(-2048.0), "−2.00 KiB");
        assert_eq!(signed_bytes(0.0), "0 B");
        assert_eq!(bytes_exact(1_234_567), "1,234,567 B");
    }

    #[test]
    fn counts() {
        for (value, expect) in [
            (0, "0"),
            (12, "12"),
            (999, "999"),
            (1_000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(count(value), expect);
        }
        for (value, expect) in [
            (0.0, "0"),
            (999.4, "999"),
            (999.6, "1.00 k"),
            (12_345.0, "12.3 k"),
            (-4.56e6, "−4.56 M"),
        ] {
            assert_eq!(count_short(value), expect, "{value}");
        }
    }

    #[test]
    fn durations() {
        for (ns, expect) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_234, "1.23 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (45_600_000, "45.6 ms"),
            (7_890_000_000, "7.89 s"),
            (59_990_000_000, "60.0 s"),
            (125_000_000_000, "2 min 5 s"),
            (11_040_000_000_000, "3 h 4 min"),
            (183_600_000_000_000, "2 d 3 h"),
        ] {
            assert_eq!(duration(ns), expect, "{ns}");
        }
    }

    #[test]
    fn shares_and_errors() {
        for (share, expect) in [
            (0.0, "0 %"),
            (0.0004, "<0.1 %"),
            (0.0005, "0.1 %"),
            (0.042, "4.2 %"),
            (0.0996, "10 %"),
            (0.42, "42 %"),
            (1.0, "100 %"),
            (-0.042, "−4.2 %"),
        ] {
            assert_eq!(percent(share), expect, "{share}");
        }
        for (share, expect) in [
            (0.0, "±0 %"),
            (0.042, "±4.2 %"),
            (12.0, "±>999 %"),
            (f64::NAN, "±>999 %"),
        ] {
            assert_eq!(relative_error(share), expect, "{share}");
        }
        let sampled = Method::Sampled {
            rate_bytes: 512 * 1024,
        };
        for (value, low, high, method, expect) in [
            (100.0, 100.0, 100.0, Method::Exact, "exact"),
            (100.0, 100.0, 100.0, Method::Census, "as read"),
            (100.0, 95.0, 105.0, sampled, "±5.0 %"),
            (100.0, 100.0, 100.0, sampled, "±0 %"),
            (0.0, 0.0, 30.0, sampled, "none seen"),
            (0.1, 0.0, 30.0, sampled, "±>999 %"),
            (0.0, 0.0, 0.0, Method::Exact, "exact"),
            (0.0, 0.0, 0.0, Method::Census, "as read"),
        ] {
            assert_eq!(
                error_of(&Figure {
                    value,
                    low,
                    high,
                    method
                }),
                expect
            );
        }
        assert_eq!(method(&sampled), "sampled, 1 per 512 KiB");
    }

    #[test]
    fn numbers_in_their_units() {
        for (unit, value, expect) in [
            (Unit::Count, 12_345.4, "12,345"),
            (Unit::Count, -3.0, "−3"),
            (Unit::Bytes, -2048.0, "−2.00 KiB"),
            (Unit::BytesPerSecond, 2048.0, "2.00 KiB/s"),
            (Unit::Nanos, 1_234.0, "1.23 µs"),
            (Unit::Nanos, -1_234.0, "−1.23 µs"),
            (Unit::Moment, 8_450_000_000.0, "0:03.4"),
            (Unit::Share, 0.42, "42 %"),
            (Unit::Address, 824_633_720_832.0, "0xc000000000"),
            (Unit::Bytes, f64::NAN, "unknown"),
        ] {
            assert_eq!(in_unit(BASE, unit, value), expect, "{unit:?} {value}");
        }
        let sampled = Method::Sampled { rate_bytes: 512 };
        for (value, low, high, method, expect) in [
            (1000.0, 900.0, 1100.0, sampled, "±10 %"),
            (1000.0, 100.0, 3000.0, sampled, "100 B to 2.93 KiB"),
            (0.0, 0.0, 2048.0, sampled, "0 B to 2.00 KiB"),
            (-100.0, -2048.0, 2048.0, sampled, "−2.00 KiB to 2.00 KiB"),
            (7.0, 7.0, 7.0, Method::Exact, "exact"),
            (7.0, 7.0, 7.0, Method::Census, "as read"),
        ] {
            let figure = Figure {
                value,
                low,
                high,
                method,
            };
            assert_eq!(interval_in(BASE, Unit::Bytes, &figure), expect, "{value}");
        }
    }

    #[test]
    fn times() {
        const S: u64 = 1_000_000_000;
        for (at_ns, step_ns, expect) in [
            (5 * S, S, "0:00"),
            (5 * S + 3_450_000_000, 100_000_000, "0:03.4"),
            (5 * S + 3_450_000_000, 10_000_000, "0:03.45"),
            (5 * S + 3_450_000_000, S, "0:03"),
            (5 * S + 723 * S, S, "12:03"),
            (5 * S + 3723 * S, 100_000_000, "1:02:03"),
            (4 * S, S, "−0:01"),
            (5 * S - 1, S, "0:00"),
        ] {
            assert_eq!(elapsed_to(BASE, at_ns, step_ns), expect, "{at_ns} {step_ns}");
        }
        for (at_ns, expect) in [(5 * S, "01:59:59.9"), (6 * S, "02:00:00.9"), (0, "01:59:54.9")] {
            assert_eq!(clock(BASE, at_ns).as_deref(), Some(expect));
        }
        assert_eq!(clock(TimeBase::default(), 0), None);
    }

    #[test]
    fn pieces() {
        for (value, decimals, expect) in [
            (1.005, 1, "1.0"),
            (-0.04, 1, "0.0"),
            (-1.25, 1, "-1.3"),
            (12.0, 0, "12"),
            (0.062, 2, "0.06"),
        ] {
            assert_eq!(fixed(value, decimals), expect);
        }
        assert_eq!(px(-12.345), "-12.35px");
        assert_eq!(split("1.23 MiB/s"), ("1.23", "MiB/s"));
        assert_eq!(split("exact"), ("exact", ""));
    }
}
