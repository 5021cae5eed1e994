//! Golden links: never edited, only added to. A link that someone saved must open the same view for ever.

use super::*;
use heaptide_analysis::views::{Metric, Window};

const ID: &str = "00112233445566778899aabbccddeeff";

fn place(tab: Tab, change: impl FnOnce(&mut ViewState)) -> Place {
    let mut place = Place::session(ID.parse().unwrap(), tab);
    change(&mut place.view);
    place
}

#[test]
fn golden_links_of_version_1() {
    let cases = [
        ("/", Place::fleet()),
        ("/s/00112233445566778899aabbccddeeff", place(Tab::Live, |_| {})),
        (
            "/s/00112233445566778899aabbccddeeff?v=1&r=all&panel=sampling",
            place(Tab::Live, |view| {
                view.range = Range::All;
                view.sampling_open = true;
            }),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/flame?v=1&r=1m&at=18446744073709551615&t0=9007199254740993&\
             t1=9007199254740995&metric=kept&f=main.%28*T%29.serve%20x&sel=00000000000000ff&zoom=ffffffffffffffff",
            place(Tab::Flame, |view| {
                view.range = Range::Minute;
                view.at_ns = Some(u64::MAX);
                view.selection = Some(Window {
                    from_ns: 9_007_199_254_740_993,
                    to_ns: 9_007_199_254_740_995,
                });
                view.metric.0 = Metric::Kept;
                view.filter = "main.(*T).serve x".into();
                view.selected = Some(0xff);
                view.zoom = Some(u64::MAX);
            }),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/goroutines",
            place(Tab::Goroutines, |_| {}),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/pauses?v=1&t0=1&t1=2000000000",
            place(Tab::Pauses, |view| {
                view.selection = Some(Window {
                    from_ns: 1,
                    to_ns: 2_000_000_000,
                });
            }),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/mappings?v=1&f=libc",
            place(Tab::Mappings, |view| view.filter = "libc".into()),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/ledger?v=1&at=7",
            place(Tab::Ledger, |view| view.at_ns = Some(7)),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/drift?v=1&r=30m",
            place(Tab::Drift, |view| view.range = Range::HalfHour),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/exact?v=1&panel=sampling",
            place(Tab::Exact, |view| view.sampling_open = true),
        ),
        (
            "/s/00112233445566778899aabbccddeeff/doctor",
            place(Tab::Doctor, |_| {}),
        ),
        (
            "/?v=1&sort=rss",
            Place {
                page: Page::Fleet,
                view: ViewState {
                    sort: FleetSort::Rss,
                    ..ViewState::default()
                },
            },
        ),
        (
            "/?v=1&f=zone%3Deu&sort=live&by=app.kubernetes.io/name",
            Place {
                page: Page::Fleet,
                view: ViewState {
                    sort: FleetSort::Live,
                    by: "app.kubernetes.io/name".into(),
                    filter: "zone=eu".into(),
                    ..ViewState::default()
                },
            },
        ),
        ("/d", Place::dashboards(String::new())),
        (
            "/d/shop-by-version?v=1&r=1m&by=version",
            Place {
                page: Page::Dashboards {
                    name: "shop-by-version".into(),
                },
                view: ViewState {
                    range: Range::Minute,
                    by: "version".into(),
                    ..ViewState::default()
                },
            },
        ),
    ];
    for (link, expected) in cases {
        let (path, query) = link.split_once('?').unwrap_or((link, ""));
        let opened = Place::open(path, query);
        assert_eq!(opened.problems, [""; 0], "{link}");
        assert_eq!(opened.place, expected, "{link}");
        let again = expected.href();
        let (path, query) = again.split_once('?').unwrap_or((&again, ""));
        assert_eq!(Place::open(path, query).place, expected, "{again}");
    }
}

#[test]
fn every_choice_comes_back() {
    for range in Range::ALL {
        for metric in view::METRICS {
            for sort in FleetSort::ALL {
                let written = place(Tab::Flame, |view| {
                    view.range = range;
                    view.metric.0 = metric;
                    view.sort = sort;
                });
                let href = written.href();
                let (path, query) = href.split_once('?').unwrap_or((&href, ""));
                assert_eq!(Place::open(path, query).place, written, "{href}");
            }
        }
    }
}

#[test]
fn bad_state_still_opens_the_data_and_says_what_was_left_out() {
    let long = format!("f={}", "x".repeat(9_000));
    let cases = [
        ("v=2&r=all", "view version 2"),
        ("v=two", "not a number"),
        ("r=fortnight", "r=fortnight"),
        ("t0=5", "time window"),
        ("t0=5&t1=5", "time window"),
        ("t0=-1&t1=2", "t0=-1"),
        ("metric=goodness", "metric=goodness"),
        ("sel=xyz", "sel=xyz"),
        ("at=1e9", "at=1e9"),
        ("by=", "by="),
        ("by=Zone", "by=Zone"),
        (long.as_str(), "9002 bytes"),
    ];
    for (query, expected) in cases {
        let opened = Place::open(&format!("/s/{ID}"), query);
        assert_eq!(opened.place.session_id(), Some(ID.parse().unwrap()), "{query}");
        let problems = opened.problems.join("\n");
        assert!(problems.contains(expected), "{query}: {problems:?}");
    }
    let newer = Place::open("/", "v=2&r=all");
    assert_eq!(newer.place.view.range, Range::All);
}

#[test]
fn unknown_paths_and_foreign_keys() {
    for path in [
        "/x",
        "/s",
        "/s/12",
        "/s/00112233445566778899aabbccddeeff/x",
        "/s/é",
        "/d/Shop",
        "/d/a/b",
        "/s/00112233445566778899aabbccddeeff/live",
        "/s/00112233445566778899aabbccddeeff/drift/x",
    ] {
        let opened = Place::open(path, "utm_source=mail");
        assert_eq!(opened.place.page, Page::Unknown { path: path.into() });
        assert_eq!(opened.problems, [""; 0]);
    }
}

#[test]
fn the_range_stays_inside_what_there_is() {
    const MINUTE: u64 = 60_000_000_000;
    let span = Window {
        from_ns: 5 * MINUTE,
        to_ns: 15 * MINUTE,
    };
    let cases = [
        (Range::All, None, 5, 15),
        (Range::FiveMinutes, None, 10, 15),
        (Range::HalfHour, None, 5, 15),
        (Range::Minute, Some(8 * MINUTE), 7, 8),
        (Range::Minute, Some(99 * MINUTE), 14, 15),
        (Range::FiveMinutes, Some(0), 5, 5),
    ];
    for (range, at_ns, from, to) in cases {
        let expected = Window {
            from_ns: from * MINUTE,
            to_ns: to * MINUTE,
        };
        assert_eq!(range.window(span, at_ns), expected, "{range:?} {at_ns:?}");
    }
}
