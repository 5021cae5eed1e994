//! From allocation to pixel, on a running session. Only reported: a test machine's time is nobody's promise.

use heaptide_e2e::wait::let_run;
use heaptide_e2e::{Browser, Build, Go, Hub, Sites, heaptide, machine, until};
use std::time::Duration;

const GOAL_MS: f64 = 300.0;
const LEAST: usize = 50;

#[test]
fn the_age_of_a_sample_on_the_screen_is_measured() {
    let test = "browser (latency)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let hub = Hub::start(&binary);
    let flags = "-windows 0 -window-bytes 4000000 -pace 40ms -rate 65536";
    let mut sites = Sites::started(hub.run("", &program, flags));
    let session = heaptide::session_of(&sites.process);
    browser.open_session(hub.address, session, "");
    sites.go();
    let_run(Duration::from_secs(20));
    let mut ages_ms: Vec<f64> = until("enough measurements", || {
        let value = browser.script("return window.__heaptide.latency_ms", &[])?;
        let ages: Vec<f64> = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if ages.len() >= LEAST {
            Ok(ages)
        } else {
            Err(ages.len().to_string())
        }
    });
    ages_ms.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| ages_ms[((ages_ms.len() - 1) as f64 * share) as usize];
    println!(
        "from allocation to pixel: median {:.0} ms, 95 % within {:.0} ms, {:.0} to {:.0} ms, {} measurements; goal: median below {GOAL_MS} ms",
        at(0.5),
        at(0.95),
        at(0.0),
        at(1.0),
        ages_ms.len()
    );
    // A sample on the screen before it was taken would be a clock mixed up.
    assert!(at(0.0) > 0.0 && at(1.0).is_finite(), "{ages_ms:?}");
    sites.process.close_stdin();
    let _ = sites.end();
}
