//! Conditions for CI: `live > +10%`, `live:main.leak > +1MiB`, `pause_p99 > 5ms`.
//!
//! ```text
//! condition = subject ( ">" | "<" ) threshold
//! subject   = measure [ ":" function ]      a function only behind live, allocated, allocated_per_s
//! measure   = live | allocated | allocated_per_s | rss | pss | untracked
//!           | pause_p50 | pause_p99 | pause_max | pause_total | gc_cycles
//! threshold = number unit                   of the second recording alone
//!           | ( "+" | "-" ) number unit     of the second less the first
//!           | ( "+" | "-" ) number "%"      the same as a share of the first
//! unit      = B | KB | MB | GB | TB | KiB | MiB | GiB | TiB   bytes
//!           | the same with "/s"                              bytes a second
//!           | ns | us | µs | ms | s                           times
//!           | nothing                                         counts
//! ```

use super::DiffMetric;
use crate::RecordingError;
use heaptide_analysis::report::Unit;

/// A condition that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    text: String,
    pub(super) subject: Subject,
    pub(super) is_above: bool,
    pub(super) threshold: Threshold,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Subject {
    Heap {
        metric: DiffMetric,
        function: Option<String>,
    },
    Rss,
    Pss,
    Untracked,
    /// A quantile in hundredths.
    Pause {
        percent: u32,
    },
    PauseTotal,
    Collections,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Threshold {
    Absolute(f64),
    Change(f64),
    /// 0.1 for `+10%`.
    Share(f64),
}

const BYTES: [(&str, f64); 9] = [
    ("B", 1.0),
    ("KB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("TB", 1e12),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("TiB", 1_099_511_627_776.0),
];
const TIMES: [(&str, f64); 5] = [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9)];

impl Condition {
    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        parse(text).map_err(|why| RecordingError::Condition {
            got: text.chars().take(200).collect(),
            why,
        })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn site(&self) -> Option<&str> {
        match &self.subject {
            Subject::Heap { function, .. } => function.as_deref(),
            _ => None,
        }
    }
}

fn parse(text: &str) -> Result<Condition, String> {
    // From the right: a function's name may hold anything.
    let at = text.rfind(['>', '<']).ok_or("it has neither > nor <")?;
    let (subject, rest) = text.split_at(at);
    let is_above = rest.starts_with('>');
    let subject = parse_subject(subject.trim())?;
    let threshold = parse_threshold(rest[1..].trim(), subject.unit())?;
    Ok(Condition {
        text: text.trim().to_owned(),
        subject,
        is_above,
        threshold,
    })
}

fn parse_subject(text: &str) -> Result<Subject, String> {
    let (measure, function) = match text.split_once(':') {
        Some((measure, function)) => (measure.trim_end(), Some(function.trim().to_owned())),
        None => (text, None),
    };
    if function.as_deref() == Some("") {
        return Err("there is no function behind the colon".to_owned());
    }
    let heap = |metric| Subject::Heap {
        metric,
        function: function.clone(),
    };
    let subject = match measure {
        "live" => heap(DiffMetric::Live),
        "allocated" => heap(DiffMetric::Allocated),
        "allocated_per_s" => heap(DiffMetric::AllocatedPerSecond),
        "rss" => Subject::Rss,
        "pss" => Subject::Pss,
        "untracked" => Subject::Untracked,
        "pause_p50" => Subject::Pause { percent: 50 },
        "pause_p99" => Subject::Pause { percent: 99 },
        "pause_max" => Subject::Pause { percent: 100 },
        "pause_total" => Subject::PauseTotal,
        "gc_cycles" => Subject::Collections,
        _ => {
            return Err(format!(
                "{measure:?} is not one of live, allocated, allocated_per_s, rss, pss, untracked, pause_p50, \
                 pause_p99, pause_max, pause_total, gc_cycles"
            ));
        }
    };
    if function.is_some() && !matches!(subject, Subject::Heap { .. }) {
        return Err(format!("{measure} is not known by function"));
    }
    Ok(subject)
}

fn parse_threshold(text: &str, unit: Unit) -> Result<Threshold, String> {
    let sign = text.chars().next().filter(|first| "+-".contains(*first));
    let unsigned = text.get(usize::from(sign.is_some())..).unwrap_or("").trim_start();
    let digits = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, written) = unsigned.split_at(digits);
    let number: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a number with a unit"))?;
    let signed = if sign == Some('-') { -number } else { number };
    let written = written.trim();
    match (written, sign) {
        ("%", Some(_)) => return Ok(Threshold::Share(signed / 100.0)),
        ("%", None) => {
            return Err(format!(
                "{text} of what? Say +{text} for more than before or -{text} for less"
            ));
        }
        _ => {}
    }
    let factor = factor(written, unit)?;
    Ok(if sign.is_some() {
        Threshold::Change(signed * factor)
    } else {
        Threshold::Absolute(number * factor)
    })
}

fn factor(written: &str, unit: Unit) -> Result<f64, String> {
    let find = |table: &[(&str, f64)], name: &str| {
        let found = table.iter().find(|(unit, _)| *unit == name);
        found.map(|(_, factor)| *factor)
    };
    let (found, expected) = match unit {
        Unit::Bytes => (find(&BYTES, written), "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB"),
        Unit::BytesPerSecond => (
            written
                .strip_suffix("/s")
                .and_then(|unit| find(&BYTES, unit.trim_end())),
            "MiB/s and its like",
        ),
        Unit::Nanos => (find(&TIMES, written), "ns, us, ms, s"),
        _ => ((written.is_empty()).then_some(1.0), "nothing"),
    };
    found.ok_or_else(|| format!("its unit is {written:?}, expected {expected} or, with a sign, %"))
}

impl Subject {
    pub(super) fn unit(&self) -> Unit {
        match self {
            Self::Heap { metric, .. } => metric.unit(),
            Self::Rss | Self::Pss | Self::Untracked => Unit::Bytes,
            Self::Pause { .. } | Self::PauseTotal => Unit::Nanos,
            Self::Collections => Unit::Count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_understood() {
        let heap = |metric, function: Option<&str>| Subject::Heap {
            metric,
            function: function.map(str::to_owned),
        };
        let live = || heap(DiffMetric::Live, None);
        let cases = [
            ("live > +10%", live(), true, Threshold::Share(0.1)),
            ("live<-2.5%", live(), false, Threshold::Share(-0.025)),
            (
                "live > 1.5GiB",
                live(),
                true,
                Threshold::Absolute(1_610_612_736.0),
            ),
            (
                "live:main.leak > +1MiB",
                heap(DiffMetric::Live, Some("main.leak")),
                true,
                Threshold::Change(1_048_576.0),
            ),
            (
                "allocated:main.(*cache[...]).put > + 2 KB",
                heap(DiffMetric::Allocated, Some("main.(*cache[...]).put")),
                true,
                Threshold::Change(2e3),
            ),
            (
                "allocated_per_s > +3MB/s",
                heap(DiffMetric::AllocatedPerSecond, None),
                true,
                Threshold::Change(3e6),
            ),
            (
                "pause_p99 > 5ms",
                Subject::Pause { percent: 99 },
                true,
                Threshold::Absolute(5e6),
            ),
            (
                "pause_max > +100us",
                Subject::Pause { percent: 100 },
                true,
                Threshold::Change(1e5),
            ),
            (
                "gc_cycles > 20",
                Subject::Collections,
                true,
                Threshold::Absolute(20.0),
            ),
        ];
        for (text, subject, is_above, threshold) in cases {
            let condition = Condition::parse(text).unwrap();
            assert_eq!(
                (condition.subject, condition.is_above, condition.threshold),
                (subject, is_above, threshold),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("", "neither"),
            ("live", "neither"),
            ("live > ", "not a number"),
            ("live > 10%", "of what?"),
            ("live > +10", "unit"),
            ("live > +10 kB", "unit is \"kB\""),
            ("live > +10 ms", "unit is \"ms\""),
            ("heap > +10%", "is not one of live"),
            ("rss:main.a > 1B", "not known by function"),
            ("live: > 1B", "no function"),
            ("pause_p99 > 5MiB", "expected ns"),
            ("allocated_per_s > 5MiB", "MiB/s"),
            ("gc_cycles > 5ms", "expected nothing"),
        ] {
            let error = Condition::parse(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
