//! The hub dies under an open page: it says so, keeps what it has, goes on when the hub is back, and has in
//! the end what a console that never lost its connection has.

use heaptide_analysis::parity::digest;
use heaptide_e2e::browser::by_id;
use heaptide_e2e::{Browser, Build, Go, Hub, Sites, heaptide, machine, until};

#[test]
fn a_page_outlives_its_hub_without_gap_or_repeat() {
    let test = "browser (reconnect)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let mut hub = Hub::start(&binary);
    let flags = "-windows 0 -window-bytes 20000000 -pace 100ms -rate 65536 -leak";
    let mut sites = Sites::started(hub.run("", &program, flags));
    let session = heaptide::session_of(&sites.process);
    browser.open_session(hub.address, session, "");
    sites.go();
    let connection = by_id("connection");
    let top = format!("{}:first-child", by_id("site-row"));
    for round in 0..2 {
        let before = until_read(&browser, 20);
        hub.process.kill();
        browser.until_attribute(&connection, "data-state", "the loss to be told", |state| {
            state == "waiting"
        });
        browser.until_text(&connection, "Reconnecting");
        let kept = browser.attribute(&top, "data-function");
        assert!(
            kept.as_ref().is_ok_and(|kept| kept.starts_with("main.")),
            "round {round}: {kept:?}"
        );
        let read = browser.last_seq().unwrap_or_default();
        assert!(read >= before, "round {round}: {read} frames, {before} before");
        hub.restart();
        browser.until_attribute(&connection, "data-state", "the connection", |state| {
            state == "live"
        });
        until_read(&browser, read + 20);
    }
    sites.process.close_stdin();
    let _ = sites.end();

    let console = hub.console();
    console.until_ended(session);
    let (seqs, native) = console.view(session, |view| {
        assert!(view.missed.is_empty(), "{:?}", view.missed);
        (view.seqs.clone(), digest(&view.session))
    });
    let expected: Vec<u64> = (1..=seqs.len() as u64).collect();
    assert_eq!(seqs, expected, "the hub's own frames");
    assert_eq!(
        browser.parity(seqs.len() as u64),
        native,
        "the page has something else"
    );
}

fn until_read(browser: &Browser, least: u64) -> u64 {
    until("frames", || match browser.last_seq()? {
        read if read >= least => Ok(read),
        read => Err(format!("{read} of {least}")),
    })
}
