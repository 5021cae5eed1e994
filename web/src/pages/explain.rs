//! The headline figures: which there are, what each counts, what it leaves out, and where it comes from.

use crate::format;
use heaptide_analysis::views::{Figure, Headline};
use heaptide_protocol::session::Method;

/// One headline figure, ready for a person and for a test.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Stable, for tests and links: `live`, `rss` and so on.
    pub id: &'static str,
    pub label: &'static str,
    /// As text with its unit; `None` while it is not known.
    pub value: Option<String>,
    /// Error and method, or what else belongs under the number.
    pub note: String,
    /// The raw figure: value, low, high.
    pub raw: Option<(f64, f64, f64)>,
    pub what: &'static str,
}

pub const FIGURES: [&str; 6] = [
    "live",
    "rss",
    "untracked",
    "allocation-rate",
    "gc-pauses",
    "collector-cost",
];

/// The figure called `id`.
pub fn explain(id: &str, headline: &Headline) -> Option<Explained> {
    Some(match id {
        "live" => figure(
            "live",
            "Live heap",
            Some(&headline.live),
            format::bytes,
            "Heap bytes allocated since Heaptide attached and not freed yet, estimated from Go's own heap samples. \
             What was allocated before is not in it. Go frees when it sweeps, so garbage counts until the next \
             collection has swept it.",
        ),
        "rss" => figure(
            "rss",
            "RSS",
            headline.rss.as_ref(),
            format::bytes,
            "Resident set size: the pages of the process that are in memory, shared ones included, as Linux counts \
             them (smaps_rollup). What ps and top show.",
        ),
        "untracked" => figure(
            "untracked",
            "Untracked",
            headline.untracked.as_ref(),
            format::bytes,
            "RSS less live heap: what was allocated before attach, goroutine stacks, the runtime's own memory, free \
             spans that Go keeps, code and mapped files. Why the heap differs from ps.",
        ),
        "allocation-rate" => figure(
            "allocation-rate",
            "Allocation rate",
            Some(&headline.allocated_per_s),
            format::bytes_per_s,
            "Heap bytes allocated per second over the last two seconds, estimated from samples. High rates mean \
             work for the garbage collector, whatever is live.",
        ),
        "gc-pauses" => pauses(headline),
        "collector-cost" => cost(headline),
        _ => return None,
    })
}

fn figure(
    id: &'static str,
    label: &'static str,
    figure: Option<&Figure>,
    text: fn(f64) -> String,
    what: &'static str,
) -> Explained {
    Explained {
        id,
        label,
        value: figure.map(|figure| text(figure.value)),
        note: figure.map_or_else(|| "not read yet".to_owned(), note),
        raw: figure.map(|figure| (figure.value, figure.low, figure.high)),
        what,
    }
}

/// How sure, and by what means.
fn note(figure: &Figure) -> String {
    let method = match figure.method {
        Method::Sampled { rate_bytes } if rate_bytes > 0 => {
            format!("sampled, 1 per {}", crate::sampling::amount(rate_bytes))
        }
        other => format::method(&other),
    };
    if figure.low == figure.high {
        return method;
    }
    format!("{} · {method}", format::error_of(figure))
}

fn pauses(headline: &Headline) -> Explained {
    let words = if headline.pauses == 0 {
        format!("none in {} collections", format::count(headline.gc_cycles))
    } else {
        format!(
            "{} pauses in {} collections, longest {} · exact",
            format::count(headline.pauses),
            format::count(headline.gc_cycles),
            format::duration(headline.pause_longest_ns)
        )
    };
    let total = headline.pause_total_ns as f64;
    Explained {
        id: "gc-pauses",
        label: "GC pauses",
        value: Some(format::duration(headline.pause_total_ns)),
        note: words,
        raw: Some((total, total, total)),
        what: "Time for which Go stopped all goroutines (stop-the-world), summed since attach, measured by probes at \
               the beginning and end of each stop on the kernel's clock. Every stop is seen, also those that are not \
               for a collection.",
    }
}

fn cost(headline: &Headline) -> Explained {
    let value = headline.collector_cpu_permille.map(|permille| {
        let percent = f64::from(permille) / 10.0;
        format!("{} %", format::fixed(percent, 1))
    });
    let memory = headline
        .collector_rss_bytes
        .map(|rss| format!("{} of memory · ", format::bytes(rss as f64)))
        .unwrap_or_default();
    let raw = headline.collector_cpu_permille.map(f64::from);
    Explained {
        id: "collector-cost",
        label: "Collector cost",
        value,
        note: format!("of one core · {memory}measured"),
        raw: raw.map(|raw| (raw, raw, raw)),
        what: "What the collector itself takes: its CPU time over the last second as a share of one core, and its \
               resident memory. What the probes cost inside the program is not in it. A budget in the policy makes \
               the collector send less before it takes more.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_analysis::Session;

    fn headline() -> Headline {
        let sampled = |value: f64| Figure {
            value,
            low: value * 0.9,
            high: value * 1.1,
            method: Method::Sampled {
                rate_bytes: 512 << 10,
            },
        };
        Headline {
            live: sampled(50.0 * 1024.0 * 1024.0),
            allocated_per_s: sampled(1024.0),
            rss: Some(Figure {
                method: Method::Census,
                low: 1e8,
                high: 1e8,
                value: 1e8,
            }),
            gc_cycles: 3,
            pauses: 6,
            pause_total_ns: 1_500_000,
            pause_longest_ns: 400_000,
            collector_cpu_permille: Some(12),
            collector_rss_bytes: Some(20 << 20),
            ..Session::new().headline()
        }
    }

    /// Invariant: every figure that a person sees knows its method, and a sampled one shows its error.
    #[test]
    fn provenance_is_shown_with_every_figure() {
        let headline = headline();
        let expected = [
            ("live", "50.0 MiB", "sampled, 1 per 512 KiB"),
            ("rss", "95.4 MiB", "read from the system"),
            ("untracked", "", "not read yet"),
            ("allocation-rate", "1.00 KiB/s", "sampled, 1 per 512 KiB"),
            ("gc-pauses", "1.50 ms", "exact"),
            ("collector-cost", "1.2 %", "measured"),
        ];
        assert_eq!(FIGURES, expected.map(|(id, ..)| id));
        for (id, value, method) in expected {
            let got = explain(id, &headline).unwrap();
            assert_eq!(got.value.unwrap_or_default(), value, "{id}");
            assert!(got.note.contains(method), "{id}: {}", got.note);
            assert!(got.what.len() > 80, "{id}");
            if got.raw.is_some_and(|(_, low, high)| low < high) {
                assert!(got.note.contains('±'), "{id}: {}", got.note);
            }
        }
        assert_eq!(explain("beauty", &headline), None);
    }
}
