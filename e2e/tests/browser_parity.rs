//! One analysis: what this process computes of a recorded session, and what the Worker does, is the same.

use heaptide_analysis::parity::digest;
use heaptide_e2e::{Browser, Build, Console, Go, Hub, Sites, heaptide, machine};
use heaptide_protocol::SessionId;

#[test]
fn invariant_3_native_and_wasm_agree() {
    let test = "browser (parity)";
    let (Some(binary), Some(browser)) = (machine::can_watch(test), Browser::start(test)) else {
        return;
    };
    let hub = Hub::start(&binary);
    let mut digests = Vec::new();
    for (go, build) in [(Go::V1_27, Build::Plain), (Go::V1_22, Build::Stripped)] {
        let Some(program) = go.sites(test, build) else {
            return;
        };
        // All kinds of things: samples, frees, collections, pauses, mappings, a leak, two changes of the rate.
        let flags = "-windows 12 -window-bytes 60000000 -pace 200ms -leak -gc -workers 2";
        let mut sites = Sites::started(hub.run("--allow-rate-write", &program, flags));
        let session = heaptide::session_of(&sites.process);
        let console = hub.console();
        for rate in [65_536, 131_072] {
            let applied = console.propose(session, |policy| {
                policy.allow_rate_write = true;
                policy.sampling_rate_bytes = Some(rate);
            });
            applied.unwrap();
        }
        sites.go();
        let _ = sites.end();
        assert_eq!(sites.finish().code, 0);

        let (last_seq, native) = natively(&hub.console(), session);
        browser.open_session(hub.address, session, "");
        let wasm = browser.parity(last_seq);
        assert_eq!(wasm, native, "Go {}, {last_seq} frames", go.name());
        digests.push(native);
    }
    assert_ne!(digests[0], digests[1], "two sessions can't have one digest");
}

/// All of an ended session: its last frame and its digest.
fn natively(console: &Console, session: SessionId) -> (u64, u64) {
    console.until_ended(session);
    console.view(session, |view| {
        let headline = view.session.headline();
        assert!(
            view.errors.is_empty() && view.missed.is_empty(),
            "{:?}",
            view.errors
        );
        assert!(
            headline.samples > 500 && headline.gc_cycles > 0 && headline.pauses > 0,
            "{headline:?}"
        );
        (view.session.last_seq(), digest(&view.session))
    })
}
