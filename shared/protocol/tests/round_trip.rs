//! Whatever is written is read back the same; whatever is read, nothing breaks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod samples;

use heaptide_protocol::events::{Event, EventBatch, EventBody, EventKind, OtherRow};
use heaptide_protocol::frame::{self, HEAD_BYTES, MAX_RAW_BYTES};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::section::Sections;
use heaptide_protocol::{
    Envelope, Frame, ProtocolError, SessionId, StackId, SymbolGen, TagId, Upgrade, VERSION,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn event() -> impl Strategy<Value = (u64, u32, EventKind, EventBody)> {
    let wide = prop_oneof![0..200_u64, any::<u64>()];
    (
        0..5_000_u64,
        0..40_u32,
        0..16_u8,
        wide.clone(),
        wide.clone(),
        wide,
        0..600_u32,
    )
        .prop_map(|(step, thread, kind, a, b, c, stack)| {
            let kind = EventKind::from_wire(kind).unwrap();
            let body = match kind {
                EventKind::Alloc => EventBody::Alloc {
                    alloc_size_bytes: a,
                    stack: StackId(stack),
                    heap_tag: TagId(stack / 300),
                    goroutine_id: b,
                    address: Some(c),
                },
                EventKind::Free => EventBody::Free {
                    alloc_event_id: (a % 3 > 0).then_some(a % 50 + 1),
                },
                _ => EventBody::Other(OtherRow {
                    size_bytes: a,
                    address: b,
                    detail: c,
                    goroutine_id: a ^ b,
                    stack: (stack % 2 == 0).then_some(StackId(stack)),
                    heap_tag: TagId(stack),
                }),
            };
            (step, thread, kind, body)
        })
}

fn allotment() -> impl Strategy<Value = Allotment> {
    (
        any::<u32>(),
        0..4_u32,
        prop_oneof![0..4096_u64, any::<u64>()],
        0..2_u32,
    )
        .prop_map(|(stack, tag, size_bytes, rate_index)| Allotment {
            stack: StackId(stack),
            heap_tag: TagId(tag),
            size_bytes,
            rate_index,
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn event_batches_round_trip(
        events in vec(event(), 0..300), first in 60..1_000_000_u64, base in 0..u64::MAX / 2, addresses: bool,
    ) {
        let mut batch = EventBatch::new(first, base, SymbolGen(3), 524_288, addresses);
        let mut clock = base;
        let mut expected = Vec::new();
        for (step, thread, kind, body) in events {
            clock += step;
            let event_id = batch.push(clock, thread, kind, body);
            let body = match body {
                EventBody::Alloc { alloc_size_bytes, stack, heap_tag, goroutine_id, address } => {
                    let address = address.filter(|_| addresses);
                    EventBody::Alloc { alloc_size_bytes, stack, heap_tag, goroutine_id, address }
                }
                body => body,
            };
            expected.push(Event { event_id, timestamp_ns: clock, thread_id: thread, kind, body });
        }
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        let decoded = EventBatch::decode(&bytes).unwrap();
        prop_assert_eq!(decoded.iter().collect::<Vec<_>>(), expected);
        let mut again = Vec::new();
        decoded.encode(&mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn lifetime_tables_round_trip(
        births in vec((allotment(), any::<u32>()), 0..100),
        deaths in vec((allotment(), 0..1_000_u32, any::<u32>()), 0..100),
        tick in 1_000..1_000_000_u64,
    ) {
        let table = LifetimeTable {
            symbol_gen: SymbolGen(9),
            tick,
            tick_ns: 100_000_000,
            newest_ns: tick * 100_000_000 + 5,
            rates_bytes: vec![524_288, 4_096],
            births: births.into_iter().map(|(allotment, count)| Birth { allotment, count }).collect(),
            deaths: deaths
                .into_iter()
                .map(|(allotment, age_ticks, count)| Death { allotment, age_ticks, count })
                .collect(),
        };
        let mut bytes = Vec::new();
        table.encode(&mut bytes);
        prop_assert_eq!(LifetimeTable::decode(&bytes).unwrap(), table);
    }

    #[test]
    fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..600)) {
        let _ = Frame::parse(&bytes);
        let _ = EventBatch::decode(&bytes);
        let _ = LifetimeTable::decode(&bytes);
        let _ = Sections::new(&bytes).count();
    }

    /// Damage behind the checksum, as a hostile peer would write it.
    #[test]
    fn damaged_payloads_are_survived(flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut payload = samples::data_payload();
        for (index, value) in flips {
            let at = index.index(payload.len());
            payload[at] = value;
        }
        for section in Sections::new(&payload).flatten() {
            if let heaptide_protocol::section::Section::Events(batch) = section {
                let _ = batch.iter().count();
            }
        }
    }

    /// Any single flipped bit of a frame is seen.
    #[test]
    fn flipped_bits_are_detected(index: prop::sample::Index, bit in 0..8_u8) {
        let mut bytes = samples::frames().swap_remove(5).1;
        let at = index.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(Frame::parse(&bytes).is_err());
    }
}

#[test]
fn cut_frames_are_refused_at_every_length() {
    for (name, bytes) in samples::frames() {
        for length in 0..bytes.len() {
            assert!(
                Frame::parse(&bytes[..length]).is_err(),
                "{name} cut to {length} bytes"
            );
        }
    }
}

#[test]
fn another_version_names_both_and_who_should_upgrade() {
    for (theirs, upgrade) in [(0, Upgrade::Peer), (VERSION + 1, Upgrade::Us), (255, Upgrade::Us)] {
        let mut bytes = samples::frames().swap_remove(0).1;
        bytes[3] = theirs;
        assert_eq!(
            Frame::parse(&bytes),
            Err(ProtocolError::Version {
                ours: VERSION,
                theirs,
                upgrade
            })
        );
    }
}

/// A frame that says 1 KiB and unpacks to more is stopped at its word.
#[test]
fn a_decompression_bomb_is_stopped_at_the_announced_length() {
    // zstd frame: magic, no checksum, unknown size, 128 KiB window; then RLE blocks of 128 KiB each.
    let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for block in 0..64_u32 {
        let header = (128 * 1024_u32) << 3 | 1 << 1 | u32::from(block == 63);
        bomb.extend_from_slice(&header.to_le_bytes()[..3]);
        bomb.push(0xaa);
    }
    let plain = frame::encode(Envelope::data(SessionId([1; 16]), 1, 0, 0), &[0; 64]).unwrap();
    let template = Frame::parse(&plain).unwrap();
    let envelope = Envelope {
        compression: heaptide_protocol::Compression::Zstd,
        raw_bytes: 1024,
        ..template.envelope
    };
    let lying = Frame {
        envelope,
        payload: &bomb,
    };
    let mut scratch = Vec::new();
    let error = lying.raw(&mut scratch).unwrap_err();
    assert!(matches!(error, ProtocolError::Decompress { .. }), "{error}");
    assert!(
        scratch.capacity() < 1 << 20,
        "grew to {} bytes",
        scratch.capacity()
    );
}

#[test]
fn lengths_above_the_limits_are_refused() {
    let too_long = vec![0; MAX_RAW_BYTES + 1];
    assert!(frame::encode(Envelope::data(SessionId([1; 16]), 1, 0, 0), &too_long).is_err());
    let mut long_frame = samples::frames().swap_remove(0).1;
    long_frame.resize(frame::MAX_FRAME_BYTES + 1, 0);
    let error = Frame::parse(&long_frame).unwrap_err();
    assert!(matches!(error, ProtocolError::TooLarge { .. }), "{error}");
    assert!(Frame::parse(&[0; HEAD_BYTES]).is_err());
}
