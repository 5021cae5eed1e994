//! Numbers with their units, as people read them.

use heaptide_analysis::report::Unit;
use heaptide_analysis::views::Figure;
use heaptide_protocol::session::Method;

/// What an unknown value looks like.
pub(crate) const UNKNOWN: &str = "–";

const BINARY: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const TIMES: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];

/// `12.3 MiB`.
pub fn bytes(value: f64) -> String {
    let mut scaled = value;
    let mut unit = 0;
    while scaled.abs() >= 1023.5 && unit + 1 < BINARY.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 { 0 } else { digits(scaled) };
    format!("{scaled:.digits$} {}", BINARY[unit])
}

/// `1.23 ms`.
pub(crate) fn nanos(value: f64) -> String {
    if value == 0.0 {
        return "0 s".to_owned();
    }
    let (scale, unit) = TIMES
        .into_iter()
        .find(|(scale, _)| value.abs() >= *scale)
        .unwrap_or((1.0, "ns"));
    let digits = if scale == 1.0 { 0 } else { digits(value / scale) };
    format!("{:.digits$} {unit}", value / scale)
}

/// `1,234,567`.
pub(crate) fn count(value: f64) -> String {
    let whole = format!("{:.0}", value.abs());
    let mut out = String::new();
    if value < 0.0 && whole != "0" {
        out.push('-');
    }
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `12.3 %` of 0.123.
pub(crate) fn share(value: f64) -> String {
    let percent = value * 100.0;
    format!("{percent:.*} %", digits(percent).min(1))
}

/// A value of a table's column. A moment is told from `origin_ns` on.
pub(crate) fn in_unit(value: f64, unit: Unit, origin_ns: u64) -> String {
    match unit {
        Unit::Text => format!("{value}"),
        Unit::Count => count(value),
        Unit::Bytes => bytes(value),
        Unit::Nanos => nanos(value),
        Unit::Moment => format!("{:.3} s", (value - origin_ns as f64) / 1e9),
        Unit::Share => share(value),
        Unit::BytesPerSecond => format!("{}/s", bytes(value)),
        Unit::Address => format!("{:#x}", value as u64),
    }
}

/// A figure's interval: `11.1 MiB to 13.5 MiB`, or nothing for one without an error.
pub(crate) fn interval(figure: &Figure, unit: Unit) -> String {
    if figure.low == figure.high {
        return String::new();
    }
    format!(
        "{} to {}",
        in_unit(figure.low, unit, 0),
        in_unit(figure.high, unit, 0)
    )
}

/// A figure with its interval, if it has one.
pub(crate) fn figure(figure: &Figure, unit: Unit) -> String {
    let value = in_unit(figure.value, unit, 0);
    match interval(figure, unit).as_str() {
        "" => value,
        interval => format!("{value} ({interval})"),
    }
}

/// How a figure came about.
pub(crate) fn method(method: Method) -> String {
    match method {
        Method::Exact => "exact".to_owned(),
        Method::Sampled { rate_bytes } => {
            format!("sampled every {}, 99 % intervals", bytes(rate_bytes as f64))
        }
        Method::Census => "read off at one moment".to_owned(),
        Method::Estimate => "computed from other figures".to_owned(),
    }
}

/// One word for scripts.
pub(crate) fn method_word(method: Method) -> &'static str {
    match method {
        Method::Exact => "exact",
        Method::Sampled { .. } => "sampled",
        Method::Census => "census",
        Method::Estimate => "estimate",
    }
}

/// `1 place`, `2 places`.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// `2026-11-27 02:03:04 UTC`.
pub(crate) fn utc(unix_ns: u64) -> String {
    let (date, time) = date_and_time(unix_ns);
    format!("{date} {time} UTC")
}

/// `2026-11-27T02:03:04.005Z` (RFC 3339).
pub fn rfc3339(unix_ns: u64) -> String {
    let (date, time) = date_and_time(unix_ns);
    format!("{date}T{time}.{:03}Z", unix_ns / 1_000_000 % 1_000)
}

/// By the proleptic Gregorian calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
fn date_and_time(unix_ns: u64) -> (String, String) {
    let seconds = unix_ns / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (
        format!("{year:04}-{month:02}-{day:02}"),
        format!("{:02}:{:02}:{:02}", of_day / 3_600, of_day / 60 % 60, of_day % 60),
    )
}

/// Three figures that mean something.
fn digits(value: f64) -> usize {
    match value.abs() {
        small if small < 9.995 => 2,
        medium if medium < 99.95 => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_figures_and_a_unit() {
        type Write = fn(f64) -> String;
        let cases: [(Write, f64, &str); 14] = [
            (bytes, 0.0, "0 B"),
            (bytes, 1023.0, "1023 B"),
            (bytes, 1024.0, "1.00 KiB"),
            (bytes, 12.34 * 1_048_576.0, "12.3 MiB"),
            (bytes, 1023.9 * 1024.0, "1.00 MiB"),
            (bytes, -5.0 * 1024.0, "-5.00 KiB"),
            (nanos, 0.0, "0 s"),
            (nanos, 999.0, "999 ns"),
            (nanos, 1_500_000.0, "1.50 ms"),
            (nanos, 75e9, "75.0 s"),
            (count, 1_234_567.0, "1,234,567"),
            (count, -0.2, "0"),
            (share, 0.123, "12.3 %"),
            (share, 1.0, "100 %"),
        ];
        for (write, value, expected) in cases {
            assert_eq!(write(value), expected, "{value}");
        }
    }

    #[test]
    fn a_moment_is_told_from_the_beginning() {
        assert_eq!(in_unit(1_500_000_000.0, Unit::Moment, 1_000_000_000), "0.500 s");
        assert_eq!(in_unit(4096.0, Unit::Address, 0), "0x1000");
        assert_eq!(in_unit(2048.0, Unit::BytesPerSecond, 0), "2.00 KiB/s");
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_795_745_045, "2026-11-27 02:04:05 UTC"),
            (4_102_444_799, "2099-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(seconds * 1_000_000_000), expected);
        }
    }
}
