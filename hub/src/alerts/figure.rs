//! Figures of one session out of its last pulses: a value with its error, or a sentence on why there is none.
//!
//! Pure: pulses and a clock in. What needs stored frames is read elsewhere and comes in the same shape.

use super::rule::Figure;
use crate::pulses::Point;

/// A collector sends a pulse each second; one that is older tells nothing about now.
const STALE_NS: u64 = 10 * SECOND_NS;
const SECOND_NS: u64 = 1_000_000_000;
/// Half the width of a 99 % interval in standard errors.
const HALF_WIDTH: f64 = 2.576;
/// Of a window, so much must be known.
const COVERED: f64 = 0.8;
const MIN_POINTS: usize = 3;

/// What a figure is at a moment. `error` is half the 99 % interval; exact figures have none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) value: f64,
    pub(crate) error: Option<f64>,
}

/// Or why nothing is known: a sentence.
pub(crate) type Reading = Result<Measured, String>;

fn exact(value: f64) -> Reading {
    Ok(Measured { value, error: None })
}

/// A figure that comes with pulses, `points` being the last ones, the oldest first. `now_ns` is of the clock by which
/// they were heard.
pub(crate) fn of_pulses(figure: &Figure, points: &[Point], now_ns: u64) -> Reading {
    let last = points
        .last()
        .ok_or_else(|| "its collector has sent no figures yet, or is away".to_owned())?;
    let silent_ns = now_ns.saturating_sub(last.heard_ns);
    if silent_ns > STALE_NS {
        return Err(format!(
            "its collector has sent no figures for {} s",
            silent_ns / SECOND_NS
        ));
    }
    match figure {
        Figure::LiveBytes {} => Ok(Measured {
            value: last.live_bytes,
            error: Some(HALF_WIDTH * last.live_std_error_bytes),
        }),
        Figure::RssBytes {} => exact(last.rss_bytes as f64),
        Figure::AllocatedBytesPerS {} => exact(last.allocated_bytes_per_s),
        Figure::CollectorCpu {} => exact(f64::from(last.collector_cpu_permille) / 1e3),
        Figure::HostAvailable {} => match last.host_total_bytes {
            0 => Err("its collector does not know the memory of its host".to_owned()),
            total => exact(last.host_available_bytes as f64 / total as f64),
        },
        Figure::LiveSlope { window_seconds } => Ok(slope(window(points, *window_seconds)?)),
        Figure::Loss { window_seconds } => loss(window(points, *window_seconds)?),
        Figure::Goroutines { .. } | Figure::UnaccountedShare {} | Figure::PauseP99 { .. } => {
            Err("it has not been read from the stored frames yet".to_owned())
        }
    }
}

/// The pulses of the last seconds, by the session's own clock, which nobody sets.
fn window(points: &[Point], window_seconds: u32) -> Result<&[Point], String> {
    let last_ns = points.last().map_or(0, |point| point.timestamp_ns);
    let from_ns = last_ns.saturating_sub(u64::from(window_seconds) * SECOND_NS);
    let from = points
        .iter()
        .rposition(|point| point.timestamp_ns < from_ns || point.timestamp_ns > last_ns)
        .map_or(0, |before| before + 1);
    let inside = &points[from..];
    let known_s = inside
        .first()
        .map_or(0.0, |first| (last_ns - first.timestamp_ns) as f64 / 1e9);
    if known_s < COVERED * f64::from(window_seconds) || inside.len() < MIN_POINTS {
        return Err(format!(
            "{known_s:.0} s of the {window_seconds} s that it looks at are known so far"
        ));
    }
    Ok(inside)
}

/// Least squares. Sampling errors of the pulses come from shared objects, so they agree rather than oppose each other:
/// the variance is at most that of each half of the window wholly agreeing in itself and not at all with the other.
fn slope(points: &[Point]) -> Measured {
    let count = points.len() as f64;
    let origin_ns = points.first().map_or(0, |point| point.timestamp_ns);
    let at = |point: &Point| (point.timestamp_ns - origin_ns) as f64 / 1e9;
    let middle = points.iter().map(at).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|point| (at(point) - middle).powi(2)).sum();
    let (mut value, mut early, mut late) = (0.0, 0.0, 0.0);
    for point in points {
        let weight = (at(point) - middle) / spread;
        value += weight * point.live_bytes;
        let error = weight.abs() * point.live_std_error_bytes;
        if weight < 0.0 {
            early += error;
        } else {
            late += error;
        }
    }
    Measured {
        value,
        error: Some(HALF_WIDTH * f64::hypot(early, late)),
    }
}

fn loss(points: &[Point]) -> Reading {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Err("no pulse".to_owned());
    };
    let grows = |of: fn(&Point) -> u64| points.is_sorted_by_key(of);
    if !grows(|point| point.seen) || !grows(|point| point.dropped) {
        return Err("its collector was started anew, and counts from the beginning".to_owned());
    }
    let (seen, dropped) = (last.seen - first.seen, last.dropped - first.dropped);
    match seen {
        0 if dropped > 0 => exact(1.0),
        0 => Err("no record was seen in that time, so none could be lost".to_owned()),
        seen => exact(dropped as f64 / seen as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(second: u64) -> Point {
        Point {
            timestamp_ns: second * SECOND_NS,
            heard_ns: second * SECOND_NS,
            live_bytes: 1_000.0 + 5.0 * second as f64,
            live_std_error_bytes: 10.0,
            rss_bytes: 7,
            seen: 100 * second,
            dropped: second,
            allocated_bytes_per_s: 9.0,
            collector_cpu_permille: 25,
            host_available_bytes: 30,
            host_total_bytes: 120,
            ..Point::default()
        }
    }

    fn read(figure: &Figure, points: &[Point], now_s: u64) -> Reading {
        of_pulses(figure, points, now_s * SECOND_NS)
    }

    #[test]
    fn what_the_newest_pulse_says() {
        let points = [point(1), point(2)];
        for (figure, value, error) in [
            (Figure::LiveBytes {}, 1_010.0, Some(25.76)),
            (Figure::RssBytes {}, 7.0, None),
            (Figure::AllocatedBytesPerS {}, 9.0, None),
            (Figure::CollectorCpu {}, 0.025, None),
            (Figure::HostAvailable {}, 0.25, None),
        ] {
            assert_eq!(
                read(&figure, &points, 3),
                Ok(Measured { value, error }),
                "{figure:?}"
            );
        }
    }

    #[test]
    fn silence_is_no_figure() {
        let minute = Figure::LiveSlope { window_seconds: 60 };
        let short: Vec<Point> = (0..=20).map(point).collect();
        let mut unknown_host = point(1);
        unknown_host.host_total_bytes = 0;
        let still = [point(10); 1].map(|point| Point {
            timestamp_ns: 0,
            ..point
        });
        let idle: Vec<Point> = (0..=60)
            .map(|second| Point {
                seen: 5,
                dropped: 0,
                ..point(second)
            })
            .collect();
        let mut restarted: Vec<Point> = (0..=60).map(point).collect();
        restarted[60].seen = 1;
        for (figure, points, now_s, expected) in [
            (&Figure::RssBytes {}, &[][..], 0, "no figures yet"),
            (&Figure::RssBytes {}, &[point(1)], 12, "no figures for 11 s"),
            (
                &Figure::HostAvailable {},
                &[unknown_host],
                1,
                "memory of its host",
            ),
            (&minute, &short, 20, "20 s of the 60 s"),
            (&minute, &still, 10, "0 s of the 60 s"),
            (
                &Figure::Loss { window_seconds: 60 },
                &idle,
                60,
                "no record was seen",
            ),
            (
                &Figure::Loss { window_seconds: 60 },
                &restarted,
                60,
                "started anew",
            ),
            (&Figure::UnaccountedShare {}, &short, 20, "stored frames"),
        ] {
            let got = read(figure, points, now_s).unwrap_err();
            assert!(got.contains(expected), "{figure:?}: {got:?} lacks {expected:?}");
        }
    }

    #[test]
    fn a_straight_line_has_its_slope_and_its_error_is_bounded_by_what_is_not_shared() {
        let points: Vec<Point> = (0..=100).map(point).collect();
        let got = read(&Figure::LiveSlope { window_seconds: 60 }, &points, 100).unwrap();
        assert!((got.value - 5.0).abs() < 1e-9, "{got:?}");
        // Weights of either half add up to nearly 1.5 / 60 s, each of standard error 10.
        let expected = HALF_WIDTH * 2_f64.sqrt() * 10.0 * 1.5 / 60.0;
        assert!(
            (got.error.unwrap() / expected - 1.0).abs() < 0.03,
            "{got:?}, expected {expected}"
        );
    }

    #[test]
    fn loss_is_a_share_of_what_was_seen_in_the_window() {
        let mut points: Vec<Point> = (0..=100).map(point).collect();
        for late in &mut points[90..] {
            late.dropped += 600;
        }
        let figure = Figure::Loss { window_seconds: 60 };
        assert_eq!(read(&figure, &points, 100), exact(660.0 / 6_000.0));
    }

    #[test]
    fn a_session_clock_that_went_back_begins_the_window_anew() {
        let mut points: Vec<Point> = (1_000..1_100).map(point).collect();
        points.extend((0..=60).map(point));
        let got = read(&Figure::LiveSlope { window_seconds: 60 }, &points, 60).unwrap();
        assert!((got.value - 5.0).abs() < 1e-9, "{got:?}");
    }
}
