//! The same assertions natively and in a browser: the wire is read, and the analysis answers, alike.
//!
//! The number that both must reach is written here, so that neither run needs the other. Against a real
//! recorded session the two are compared end to end (`e2e/tests/browser_parity.rs`).

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_analysis::{Session, parity};
use heaptide_protocol::Frame;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

macro_rules! golden {
    ($($name:literal)*) => {
        [$(($name, include_bytes!(concat!("../../protocol/tests/wire/v1/", $name, ".bin")).as_slice())),*]
    };
}

/// What a hub sends to a console, as version 1 writes it.
const FRAMES: [(&str, &[u8]); 8] =
    golden!["hello" "welcome" "sessions" "data" "data-zstd" "missed" "policy-state" "caught-up"];

/// All views of [`answers`], as one number. It moves when the analysis does: then take the native run's.
const DIGEST: u64 = 0x5076_24e7_7bb1_656c;

fn answers(frame: &str) -> u64 {
    let (_, bytes) = FRAMES.into_iter().find(|(name, _)| *name == frame).unwrap();
    let mut session = Session::new();
    session.apply(&Frame::parse(bytes).unwrap()).unwrap();
    parity::digest(&session)
}

#[test]
fn every_frame_for_a_console_is_read() {
    for (name, bytes) in FRAMES {
        assert!(Frame::parse(bytes).is_ok(), "{name}");
    }
}

#[test]
fn one_analysis_answers_alike_natively_and_in_wasm32() {
    for frame in ["data", "data-zstd"] {
        assert_eq!(answers(frame), DIGEST, "{frame}: {:#018x}", answers(frame));
    }
}
