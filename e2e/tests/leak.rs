//! A leaking site is the first of the live table, and what the others hold is small once the garbage is gone.

use heaptide_analysis::views::Metric;
use heaptide_e2e::sites::window_bytes;
use heaptide_e2e::{Build, Go, Hub, Sites, heaptide, machine, until};

const RATE_BYTES: u64 = 65_536;

#[test]
fn the_leaking_site_is_first_of_the_live_table() {
    let test = "leak";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    for (go, build) in [(Go::V1_27, Build::Plain), (Go::V1_22, Build::Stripped)] {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        let hub = Hub::start(&binary);
        let options = format!("--allow-rate-write --sampling-rate {RATE_BYTES}");
        let flags = format!("-windows 10 -leak -gc -window-bytes {}", window_bytes(RATE_BYTES));
        let mut sites = Sites::started(hub.run(&options, &program, &flags));
        let session = heaptide::session_of(&sites.process);
        let console = hub.console();
        console.until_sampling(session, RATE_BYTES);
        sites.go();
        let end = sites.end();
        let leaked = end.live_bytes["main.siteLeak"];
        let others: u64 = end.live_bytes.values().sum::<u64>() - leaked;
        assert!(leaked > 10 * others, "{end:?}");

        // The program is still there: what is live now, not what died with it.
        let live = |what: &str| {
            let window = console.view(session, |view| view.session.span());
            console.sites_like(session, window, Metric::Live, what)
        };
        until("the sweep to be seen", || {
            let table = live("");
            let leak = live("main.siteLeak").total.value;
            // What the program counts: its sites, and not the list in which it keeps what it leaks.
            let rest = live("main.site").total.value - leak;
            let first = table.rows.first().map(|row| row.function.clone());
            // Sampled at 64 KiB, a few megabytes are known to a third or so.
            (first.as_deref() == Some("main.siteLeak") && rest < 2.0 * others as f64)
                .then_some(())
                .ok_or_else(|| {
                    let all = table.total.value;
                    format!("{first:?} first, leak {leak}, rest {rest}, exactly {others}, all {all}")
                })
        });
        let row = live("main.siteLeak").total;
        let (below, above) = (row.value - row.low, row.high - row.value);
        let exact = leaked as f64;
        assert!(
            row.value - 2.0 * below <= exact && exact <= row.value + 2.0 * above,
            "Go {}: {exact} bytes leaked, {row:?}",
            go.name()
        );
        assert_eq!(sites.finish().code, 0);
    }
}
