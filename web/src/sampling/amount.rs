//! Amounts that people set: `64 KiB` rather than `64.0 KiB`, since they are exact.

use crate::format;

/// A whole number of the largest unit that fits; else as [`format::bytes`] has it.
pub fn amount(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value >= 1024 && value.is_multiple_of(1024) && unit + 1 < UNITS.len() {
        value /= 1024;
        unit += 1;
    }
    if value < 10_000 {
        format!("{value} {}", UNITS[unit])
    } else {
        format::bytes(bytes as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::amount;

    #[test]
    fn whole_units_stay_whole() {
        let cases = [
            (0, "0 B"),
            (512, "512 B"),
            (1 << 16, "64 KiB"),
            (8 << 20, "8 MiB"),
            (1 << 41, "2 TiB"),
            (1_000_003, "977 KiB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(amount(bytes), expected);
        }
    }
}
