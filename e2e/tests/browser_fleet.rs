//! Many sessions in the browser: grouped by a label, summed up on a dashboard that somebody keeps, and compared by
//! what they did at the same time.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::browser::by_id;
use heaptide_e2e::{Browser, Build, Go, Hub, Sites, heaptide, machine, until};
use heaptide_protocol::SessionId;
use serde_json::json;
use std::path::Path;

/// Garbage without end, so that both collect often enough to do it at the same time.
const FLAGS: &str = "-windows 0 -window-bytes 20000000 -pace 20ms -rate 65536";

struct Watched {
    _sites: Sites,
    session: SessionId,
}

fn watch(hub: &Hub, program: &Path, labels: &str) -> Watched {
    let mut sites = Sites::started(hub.run(labels, program, FLAGS));
    let session = heaptide::session_of(&sites.process);
    sites.go();
    Watched {
        _sites: sites,
        session,
    }
}

/// A row of words for each that is there, without blanks between their cells.
fn rows(browser: &Browser, css: &str) -> Vec<String> {
    browser.texts(css).unwrap_or_default()
}

fn until_rows(browser: &Browser, what: &str, css: &str, wanted: &[&[&str]]) {
    until(what, || {
        let rows = rows(browser, css);
        let is = rows.len() == wanted.len()
            && wanted
                .iter()
                .all(|words| rows.iter().any(|row| words.iter().all(|word| row.contains(word))));
        is.then_some(()).ok_or_else(|| rows.join(" | "))
    });
}

fn in_field(browser: &Browser, id: &str) -> String {
    let body = "return document.querySelector(arguments[0])?.value ?? ''";
    let value = browser.script(body, &[json!(by_id(id))]).unwrap();
    value.as_str().unwrap_or_default().to_owned()
}

fn until_url(browser: &Browser, part: &str) -> String {
    until(&format!("{part} in the address"), || {
        let url = browser.url();
        if url.contains(part) { Ok(url) } else { Err(url) }
    })
}

#[test]
fn a_fleet_is_grouped_summed_up_saved_and_compared() {
    let test = "browser (fleet)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let shop = watch(
        &hub,
        &program,
        "--label service=shop --label zone=eu --label team=pay",
    );
    let cart = watch(
        &hub,
        &program,
        "--label service=cart --label zone=us --label team=pay",
    );
    let base = format!("http://{}", hub.address);

    groups(&browser, &base);
    dashboards(&browser, &base);
    overlaps(&browser, &base, &shop, &cart);
    // What was refused on purpose is a line in the log, too.
    let mut complaints = browser.complaints();
    complaints.retain(|line| !line.contains("409"));
    assert_eq!(complaints, Vec::<String>::new(), "in the browser's log");
}

/// Chosen by the keyboard, kept in the address, searched within.
fn groups(browser: &Browser, base: &str) {
    let groups = by_id("group-row");
    browser.open(base);
    until_rows(
        browser,
        "both sessions",
        &by_id("session-row"),
        &[&["Live"], &["Live"]],
    );
    assert_eq!(rows(browser, &groups), Vec::<String>::new());
    browser.type_into(&by_id("group-by"), "zone");
    let both: [&[&str]; 2] = [&["eu", "1 live of 1", "iB"], &["us", "1 live of 1", "iB"]];
    until_rows(browser, "a group for each zone", &groups, &both);
    let link = until_url(browser, "by=zone");
    browser.shots("fleet-grouped");

    browser.open_window();
    browser.open(&link);
    until_rows(browser, "the same groups in a fresh window", &groups, &both);
    assert_eq!(in_field(browser, "group-by"), "zone");
    browser.type_into(&by_id("filter"), "ZONE=eu");
    until_rows(browser, "the group that was looked for", &groups, &both[..1]);
    until_url(browser, "f=ZONE%3Deu");

    browser.open(&format!("{base}/?v=1&by=team"));
    until_rows(
        browser,
        "one group for both",
        &groups,
        &[&["pay", "2 live of 2", "iB"]],
    );
}

/// Sums of both sessions, saved, opened again, changed by two at once, renamed and deleted.
fn dashboards(browser: &Browser, base: &str) {
    let sums = format!("{} tbody tr", by_id("sums"));
    let (said, revision) = (by_id("dashboard-said"), by_id("dashboard-revision"));
    browser.click(&by_id("to-dashboards"));
    until_url(browser, "/d?v=1&by=team");
    until_rows(
        browser,
        "the sum of both",
        &sums,
        &[&["pay", "2", "iB", "±", "iB/s"]],
    );
    until("a line over time", || {
        let line = browser.attribute(&format!("{sums} .spark-line"), "d")?;
        if line.contains('L') { Ok(()) } else { Err(line) }
    });
    browser.type_into(&by_id("dashboard-title"), "Payment, by team");
    browser.click(&by_id("dashboard-save"));
    until_url(browser, "/d/payment-by-team");
    browser.until_text(&revision, "1");

    browser.open_window();
    browser.open(&format!("{base}/d/payment-by-team"));
    until_rows(browser, "the saved grouping", &sums, &[&["pay", "2", "±"]]);
    assert_eq!(in_field(browser, "group-by"), "team");
    assert_eq!(in_field(browser, "dashboard-title"), "Payment, by team");
    browser.shots("dashboard");
    // From what is stored, not from pulses.
    let range = |key: &str| format!("{} [data-key=\"{key}\"]", by_id("range"));
    browser.click(&range("24 h"));
    until_url(browser, "/d/payment-by-team?v=1&r=24h&by=team");
    until_rows(
        browser,
        "the stored sum of both",
        &sums,
        &[&["pay", "2", "iB", "±", "iB/s"]],
    );
    browser.shots("dashboard-stored");
    browser.click(&range("5 min"));

    // Somebody else is faster; what they did is not lost, and neither is what stands here.
    let theirs = "
        const answer = await fetch('/api/v1/dashboards/payment-by-team', {
            method: 'PUT',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ from_revision: 1, title: 'Theirs', view: { query: 'v=1&by=zone' } }),
        });
        return answer.status;";
    assert_eq!(browser.script_async(theirs, &[]).unwrap(), 200);
    browser.type_into(&by_id("dashboard-title"), ", mine");
    browser.click(&by_id("dashboard-save"));
    browser.until_text(&said, "2 (by");
    assert_eq!(in_field(browser, "dashboard-title"), "Payment, by team, mine");
    browser.click(&format!("{said} [data-act=show]"));
    browser.until_text(&revision, "2");
    until_rows(browser, "their grouping", &sums, &[&["eu"], &["us"]]);
    assert_eq!(in_field(browser, "dashboard-title"), "Theirs");

    browser.type_into(&by_id("dashboard-title"), " and mine");
    browser.click(&by_id("dashboard-save"));
    browser.until_text(&revision, "3");
    browser.until_text(&by_id("saved"), "Theirs and mine");
    browser.click(&by_id("dashboard-delete"));
    browser.until_text(&by_id("dashboard-delete"), "Delete it for all");
    browser.click(&by_id("dashboard-delete"));
    browser.until_text(&by_id("saved"), "None.");
    assert!(until_url(browser, "/d?").contains("by=zone"));
}

/// On one machine there is one clock, so what overlaps does so definitely.
fn overlaps(browser: &Browser, base: &str, a: &Watched, b: &Watched) {
    browser.open(&format!("{base}/hub"));
    let verdict = by_id("overlap-verdict");
    let choices = browser.script(
        "return new Promise((done) => {
            const [a, b] = ['a', 'b'].map((id) => document.querySelector(`[data-testid=overlap-${id}]`));
            const look = () => a?.options.length === 2 && b.value !== a.value
                ? done([a.value, b.value].sort()) : setTimeout(look, 50);
            look();
        })",
        &[],
    );
    let mut expected = [a.session.to_string(), b.session.to_string()];
    expected.sort();
    assert_eq!(choices.unwrap(), json!(expected));
    browser.type_into(&by_id("overlap-what"), "collections");
    let words = until("two collections at the same time", || {
        browser.click(&by_id("overlap-compare"));
        let words = browser.until_text(&verdict, " definite");
        if words.starts_with("0 definite") {
            return Err(words);
        }
        Ok(words)
    });
    assert!(words.contains("one boot of one machine"), "{words}");
    let first = browser.text(&format!("{} tbody tr", by_id("overlaps"))).unwrap();
    assert!(first.starts_with("definite") && first.contains("0 ns"), "{first}");
    browser
        .script(
            "document.querySelector(arguments[0]).scrollIntoView()",
            &[json!(by_id("overlaps"))],
        )
        .unwrap();
    browser.shots("overlaps");
}
