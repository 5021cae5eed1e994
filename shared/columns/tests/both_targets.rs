//! Decoding is written for a browser's vectors and once more for everything else: the same assertions in both.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use heaptide_columns::events::{Event, EventBatch, EventBody, EventKind, OtherRow};
use heaptide_columns::varint::{self, Reader};
use heaptide_columns::{StackId, SymbolGen, TagId};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[cfg(target_arch = "wasm32")]
wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_browser);

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Of any length up to `max_bits`, all alike.
    fn of_any_length(&mut self, max_bits: u64) -> u64 {
        self.next() >> (64 - 1 - self.below(max_bits))
    }
}

#[test]
fn columns_of_all_lengths_are_read_as_one_by_one() {
    let mut random = Random(1);
    for max_bits in [1, 7, 8, 14, 15, 21, 32] {
        for count in 0..200 {
            let values: Vec<u64> = (0..count).map(|_| random.of_any_length(max_bits)).collect();
            let mut bytes = Vec::new();
            values.iter().for_each(|value| varint::put(&mut bytes, *value));
            let mut reader = Reader::new(&bytes, "test");
            let narrow: Vec<u32> = reader.varints(values.len()).unwrap();
            assert_eq!(reader.finish(), Ok(()));
            let wide: Vec<u64> = Reader::new(&bytes, "test").varints(values.len()).unwrap();
            assert_eq!(wide, values, "up to {max_bits} bits");
            assert_eq!(wide, narrow.into_iter().map(u64::from).collect::<Vec<_>>());
            let more = Reader::new(&bytes, "test").varints::<u64>(values.len() + 1);
            assert!(more.is_err(), "{count} values of up to {max_bits} bits");
        }
    }
}

#[test]
fn batches_of_every_kind_and_many_threads_are_read_as_they_were_written() {
    let mut random = Random(2);
    for round in 0..200 {
        let threads = 1 + random.below(40);
        let rare = random.below(8);
        let mut batch = EventBatch::new(100, 1_000, SymbolGen(1), 524_288, round % 2 == 0);
        let mut clock = 1_000;
        let mut expected = Vec::new();
        for _ in 0..random.below(120) {
            clock += random.of_any_length(30);
            let thread_id = random.below(threads) as u32;
            let number = if random.below(8) < rare {
                random.below(16)
            } else {
                random.below(2)
            };
            let kind = EventKind::from_wire(number as u8).unwrap();
            let body = body(kind, round % 2 == 0, &mut random);
            let event_id = batch.push(clock, thread_id, kind, body);
            expected.push(Event {
                event_id,
                timestamp_ns: clock,
                thread_id,
                kind,
                body,
            });
        }
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        let read: Vec<Event> = EventBatch::decode(&bytes).unwrap().iter().collect();
        assert_eq!(read, expected);
        let cut = &bytes[..bytes.len() - 1];
        assert!(EventBatch::decode(cut).is_err());
    }
}

fn body(kind: EventKind, addresses: bool, random: &mut Random) -> EventBody {
    match kind {
        EventKind::Alloc => EventBody::Alloc {
            alloc_size_bytes: random.of_any_length(24),
            stack: StackId(random.below(30) as u32),
            heap_tag: TagId(random.below(2) as u32),
            goroutine_id: random.of_any_length(10),
            address: addresses.then(|| random.next()),
        },
        EventKind::Free => EventBody::Free {
            alloc_event_id: (random.below(5) > 0).then(|| 1 + random.below(99)),
        },
        _ => EventBody::Other(OtherRow {
            size_bytes: random.of_any_length(40),
            address: random.next(),
            detail: random.below(3),
            goroutine_id: random.of_any_length(20),
            stack: (random.below(2) == 0).then(|| StackId(random.next() as u32)),
            heap_tag: TagId(random.below(9) as u32),
        }),
    }
}

/// A thread that the table has not, at every place of a block.
#[test]
fn a_head_with_an_unknown_thread_is_refused_wherever_it_stands() {
    for count in 1..40 {
        let mut batch = EventBatch::new(1, 0, SymbolGen(0), 1, false);
        for _ in 0..count {
            batch.push(1, 7, EventKind::Free, EventBody::Free { alloc_event_id: None });
        }
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        // First id, time, generation, rate, flags, the two counts and the one thread.
        let heads = 8;
        assert!(bytes[heads..heads + count].iter().all(|head| *head == 1));
        for at in heads..heads + count {
            let mut wrong = bytes.clone();
            wrong[at] |= 0x10;
            assert!(EventBatch::decode(&wrong).is_err(), "{at} of {count}");
        }
        assert!(EventBatch::decode(&bytes).is_ok());
    }
}
