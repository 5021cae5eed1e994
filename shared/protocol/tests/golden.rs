//! The wire does not change under a version number: bytes written once are read, and written, forever.
//!
//! A new version gets a new folder; these files are never edited. `HEAPTIDE_WRITE_GOLDEN=1` writes files
//! that are missing.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod samples;

use heaptide_protocol::Frame;
use heaptide_protocol::section::{Section, Sections};
use std::path::PathBuf;

fn golden(name: &str, bytes: &[u8]) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/wire/v1")
        .join(format!("{name}.bin"));
    if !path.exists() && !bytes.is_empty() && std::env::var_os("HEAPTIDE_WRITE_GOLDEN").is_some() {
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
#[cfg(not(feature = "compress"))]
fn every_frame_kind_is_written_as_ever() {
    for (name, bytes) in samples::frames() {
        assert_eq!(
            golden(name, &bytes),
            bytes,
            "{name} is written differently than in version 1"
        );
    }
}

#[test]
fn every_golden_frame_is_read() {
    for (name, _) in samples::frames() {
        let bytes = golden(name, &[]);
        Frame::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn golden_data_frame_decodes_to_the_same_sections() {
    let bytes = golden("data", &[]);
    let mut scratch = Vec::new();
    let frame = Frame::parse(&bytes).unwrap();
    let got: Vec<Section> = Sections::new(frame.raw(&mut scratch).unwrap())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(got, samples::sections());
}

/// A data frame as a collector with zstd wrote it.
#[test]
fn golden_compressed_frame_decodes_to_the_same_sections() {
    #[cfg(feature = "compress")]
    let written = heaptide_protocol::frame::encode(
        heaptide_protocol::Envelope::data(samples::SESSION, 5, 1_000, 2_000),
        &samples::data_payload(),
    )
    .unwrap();
    #[cfg(not(feature = "compress"))]
    let written = Vec::new();
    let bytes = golden("data-zstd", &written);
    let mut scratch = Vec::new();
    let frame = Frame::parse(&bytes).unwrap();
    assert_eq!(frame.envelope.compression, heaptide_protocol::Compression::Zstd);
    let got: Vec<Section> = Sections::new(frame.raw(&mut scratch).unwrap())
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(got, samples::sections());
}
