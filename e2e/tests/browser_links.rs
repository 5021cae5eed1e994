//! The address bar holds the view: the same link opens the same view, and a broken one still opens the data.

use heaptide_e2e::browser::by_id;
use heaptide_e2e::{Browser, Build, Go, Hub, Sites, heaptide, machine, until};

/// What a person sees of a view.
#[derive(Debug, PartialEq)]
struct Seen {
    metric: String,
    filter: String,
    window: String,
    top_function: String,
    top_bytes: String,
}

fn seen(browser: &Browser) -> Result<Seen, String> {
    let top = format!("{}:first-child", by_id("site-row"));
    let filter = browser.script(
        "return document.querySelector('[data-testid=filter]')?.value ?? ''",
        &[],
    )?;
    Ok(Seen {
        metric: browser.attribute("[data-testid=metric] [aria-pressed=true]", "data-key")?,
        filter: filter.as_str().unwrap_or_default().to_owned(),
        window: browser.text(&by_id("window"))?,
        top_function: browser.attribute(&top, "data-function")?,
        top_bytes: browser.attribute(&top, "data-value")?,
    })
}

#[test]
fn a_link_opens_the_same_view() {
    let test = "browser (links)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let flags = "-windows 12 -window-bytes 40000000 -pace 300ms -rate 65536 -leak";
    let mut sites = Sites::started(hub.run("", &program, flags));
    let session = heaptide::session_of(&sites.process);
    sites.go();
    let _ = sites.end();
    assert_eq!(sites.finish().code, 0);
    // Ended, so that the figures hold still.
    hub.console().until_ended(session);

    browser.open_session(hub.address, session, "");
    browser.until_text(&by_id("session-state"), "Ended");
    browser.click("[data-testid=metric] [data-key=allocated]");
    browser.type_into(&by_id("filter"), "siteL");
    browser.drag(".chart-plot", 0.3, 0.7);
    let first = until("the view in the address bar", || {
        let url = browser.url();
        let keys = ["metric=allocated", "f=siteL", "t0=", "t1="];
        let view = seen(&browser)?;
        let shown = view.top_function.contains("siteL");
        (shown && keys.iter().all(|key| url.contains(key)))
            .then_some(view)
            .ok_or_else(|| format!("{url}: {:?}", seen(&browser)))
    });
    assert_eq!(
        (first.metric.as_str(), first.filter.as_str()),
        ("allocated", "siteL")
    );
    // Less than all of it: the window counts.
    let link = browser.url();
    browser.click(&by_id("window"));
    let all = until("more bytes without the window", || {
        let top = format!("{}:first-child", by_id("site-row"));
        let now = browser.number(&top, "data-value")?;
        let before: f64 = first.top_bytes.parse().unwrap();
        (now > before).then_some(now).ok_or_else(|| now.to_string())
    });
    assert!(all > 0.0);

    browser.open_window();
    browser.open(&link);
    browser.until_caught_up();
    until("the same view in a fresh window", || {
        let now = seen(&browser)?;
        (now == first)
            .then_some(())
            .ok_or_else(|| format!("{now:?}, was {first:?}"))
    });

    let broken = "?v=99&metric=nonsense&r=%%%&t0=9&t1=2&at=x&sel=1&zoom=g&sort=?&panel=none&a=b";
    browser.open_session(hub.address, session, broken);
    let top = format!("{}:first-child", by_id("site-row"));
    browser.until_attribute(&top, "data-function", "the data", |function| {
        function.contains("main.")
    });
    for words in ["view version 99", "metric=nonsense", "time window"] {
        browser.until_text(&by_id("notice"), words);
    }
    assert_eq!(browser.complaints(), Vec::<String>::new(), "in the browser's log");
}
