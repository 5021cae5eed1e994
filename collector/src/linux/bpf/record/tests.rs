use proptest::prelude::*;

use super::*;

/// A record as the eBPF programs write it: header, fixed words, stack.
fn record(kind: u16, flags: u16, frames: u16, words: &[u64], stack: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for half in [kind, flags, frames, 3] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(1_000_u64.to_ne_bytes());
    for id in [10_u32, 11] {
        bytes.extend(id.to_ne_bytes());
    }
    for word in words.iter().chain(stack) {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}

const AT: At = At {
    ts_ns: 1_000,
    tgid: 10,
    tid: 11,
    cpu: 3,
};

#[test]
fn decode_table() {
    let no_stack = |caller_pc| Stack {
        frames: &[],
        caller_pc,
        flags: 0,
    };
    let cases: &[(&str, Vec<u8>, What<'_>)] = &[
        (
            "alloc",
            record(1, 0, 0, &[7, 0xc000, 64, 99], &[]),
            What::SampledAlloc {
                goid: Some(7),
                addr: 0xc000,
                size_bytes: 64,
                stack: no_stack(99),
            },
        ),
        (
            "alloc without goroutine",
            record(1, flags::GOID_UNKNOWN, 0, &[7, 0xc000, 64, 99], &[]),
            What::SampledAlloc {
                goid: None,
                addr: 0xc000,
                size_bytes: 64,
                stack: Stack {
                    frames: &[],
                    caller_pc: 99,
                    flags: flags::GOID_UNKNOWN,
                },
            },
        ),
        (
            "free",
            record(2, 0, 0, &[0xc000, 64], &[]),
            What::SampledFree {
                addr: 0xc000,
                size_bytes: 64,
            },
        ),
        (
            "cycle",
            record(3, 0, 0, &[1, 2, 3, 0x101], &[]),
            What::GcCycleStart {
                mark_start_ns: 2,
                procs: 3,
                trigger: 1,
            },
        ),
        (
            "mark termination",
            record(4, 0, 0, &[1, 2, 3, 4], &[]),
            What::GcMarkTermination,
        ),
        (
            "stop",
            record(5, 0, 0, &[0xff02, 2, 3, 4], &[]),
            What::StwBegin { reason: 2 },
        ),
        (
            "start",
            record(6, 0, 0, &[0, 0xff07, 3, 4], &[]),
            What::StwEnd {
                now_ns: None,
                reason: 7,
            },
        ),
        (
            "goroutine",
            record(50, 0, 0, &[7, 0x40_1000, 2048, 0], &[]),
            What::GoroutineCreated {
                goid: Some(7),
                creator_pc: 0x40_1000,
                stack_bytes: 2048,
                stack: no_stack(0),
            },
        ),
        (
            "a goroutine without id ends",
            record(51, flags::GOID_UNKNOWN, 0, &[7, 0, 8192, 0], &[]),
            What::GoroutineExited {
                goid: None,
                stack_bytes: 8192,
            },
        ),
        (
            "growth",
            record(52, 0, 0, &[7, 0x40_2000, 2048, 4096], &[]),
            What::StackCopied {
                goid: Some(7),
                pc: 0x40_2000,
                old_bytes: 2048,
                new_bytes: 4096,
            },
        ),
        ("started", record(7, 0, 0, &[0, 7, 3, 4], &[]), What::StwEndWakep),
        (
            "mmap",
            record(
                8,
                0,
                0,
                &[
                    1,
                    5,
                    0,
                    4096,
                    3,
                    0x22,
                    u64::MAX,
                    8192,
                    (-22_i64).cast_unsigned(),
                    9,
                ],
                &[],
            ),
            What::Mapping {
                call: MappingCall::Mmap {
                    addr: 0,
                    len: 4096,
                    prot: 3,
                    flags: 0x22,
                    fd: -1,
                    offset: 8192,
                },
                enter_ns: 5,
                result: -22,
                stack: no_stack(9),
            },
        ),
        (
            "munmap",
            record(8, 0, 0, &[2, 5, 16, 4096, 0, 0, 0, 0, 0, 9], &[]),
            What::Mapping {
                call: MappingCall::Munmap { addr: 16, len: 4096 },
                enter_ns: 5,
                result: 0,
                stack: no_stack(9),
            },
        ),
        (
            "mremap",
            record(8, 0, 0, &[3, 5, 16, 4096, 8192, 1, 64, 0, 32, 9], &[]),
            What::Mapping {
                call: MappingCall::Mremap {
                    old_addr: 16,
                    old_len: 4096,
                    new_len: 8192,
                    flags: 1,
                    new_addr: 64,
                },
                enter_ns: 5,
                result: 32,
                stack: no_stack(9),
            },
        ),
        (
            "madvise",
            record(8, 0, 0, &[4, 5, 16, 4096, 14, 0, 0, 0, 0, 9], &[]),
            What::Mapping {
                call: MappingCall::Madvise {
                    addr: 16,
                    len: 4096,
                    advice: 14,
                },
                enter_ns: 5,
                result: 0,
                stack: no_stack(9),
            },
        ),
        (
            "brk",
            record(8, 0, 0, &[5, 5, 16, 0, 0, 0, 0, 0, 32, 9], &[]),
            What::Mapping {
                call: MappingCall::Brk { addr: 16 },
                enter_ns: 5,
                result: 32,
                stack: no_stack(9),
            },
        ),
        (
            "page fault",
            record(20, 0, 0, &[0x7000, 6, 10], &[]),
            What::PageFault {
                addr: 0x7000,
                error_code: 6,
                one_in: 10,
                stack: no_stack(0),
            },
        ),
        (
            "huge page",
            record(21, 0, 0, &[0x20_0000, 1 << 32 | 1], &[]),
            What::HugePage {
                addr: Some(0x20_0000),
                succeeded: true,
                stack: Some(no_stack(0)),
            },
        ),
        (
            "no huge page",
            record(21, 0, 0, &[0, 5], &[]),
            What::HugePage {
                addr: None,
                succeeded: false,
                stack: Some(no_stack(0)),
            },
        ),
        (
            "assist",
            record(22, 0, 0, &[7, 900], &[]),
            What::GcAssist {
                goid: Some(7),
                begin_ns: 900,
                stack: no_stack(0),
            },
        ),
        (
            "sweep",
            record(23, 0, 0, &[0, 900], &[]),
            What::GcSweep {
                goid: None,
                begin_ns: 900,
                stack: no_stack(0),
            },
        ),
        (
            "wait",
            record(24, 0, 0, &[900], &[]),
            What::Wait { begin_ns: 900 },
        ),
    ];
    for (name, bytes, what) in cases {
        assert_eq!(decode(bytes), Ok(Record { at: AT, what: *what }), "{name}");
        let short = &bytes[..bytes.len() - 1];
        let expected = AbiError::TooShort {
            expected_bytes: bytes.len(),
            got_bytes: short.len(),
        };
        assert_eq!(decode(short), Err(expected), "{name}, one byte short");
    }
}

#[test]
fn what_is_no_record() {
    let cases: &[(&str, Vec<u8>, AbiError)] = &[
        (
            "nothing",
            vec![],
            AbiError::TooShort {
                expected_bytes: 24,
                got_bytes: 0,
            },
        ),
        (
            "kind 0",
            record(0, 0, 0, &[0; 16], &[]),
            AbiError::UnknownKind { kind: 0 },
        ),
        (
            "kind 9",
            record(9, 0, 0, &[0; 16], &[]),
            AbiError::UnknownKind { kind: 9 },
        ),
        (
            "128 frames",
            record(1, 0, 128, &[0; 200], &[]),
            AbiError::StackTooLong { frames: 128 },
        ),
        (
            "call 6",
            record(8, 0, 0, &[6; 10], &[]),
            AbiError::UnknownCall { call: 6 },
        ),
        (
            "a frame short",
            record(1, 0, 3, &[0; 4], &[1, 2]),
            AbiError::TooShort {
                expected_bytes: 80,
                got_bytes: 72,
            },
        ),
    ];
    for (name, bytes, error) in cases {
        assert_eq!(decode(bytes), Err(*error), "{name}");
    }
}

#[test]
fn caller_is_put_in_once() {
    let cases: &[(&[u64], u64, &[u64])] = &[
        // The kernel walked the caller already.
        (&[1, 2, 3], 2, &[1, 2, 3]),
        // It did not.
        (&[1, 3], 2, &[1, 2, 3]),
        // The caller could not be read.
        (&[1, 3], 0, &[1, 3]),
        (&[1], 2, &[1, 2]),
        (&[], 0, &[]),
    ];
    for &(stack, caller_pc, expected) in cases {
        let bytes = record(1, 0, stack.len() as u16, &[0, 0, 0, caller_pc], stack);
        let Ok(Record {
            what: What::SampledAlloc { stack: decoded, .. },
            ..
        }) = decode(&bytes)
        else {
            panic!("no sampled allocation: {bytes:?}");
        };
        assert_eq!(decoded.frames().collect::<Vec<_>>(), stack);
        assert_eq!(
            decoded.frames_with_caller().collect::<Vec<_>>(),
            expected,
            "{stack:?} {caller_pc}"
        );
    }
}

proptest! {
    /// Any bytes give a record or an error; a record's stack lies within the bytes.
    #[test]
    fn decoding_survives_any_bytes(
        kind in 0_u16..12,
        frames in 0_u16..200,
        tail in proptest::collection::vec(any::<u8>(), 0..1300),
        cut in 0_usize..32,
    ) {
        let mut bytes = record(kind, 0xffff, frames, &[], &[]);
        bytes.extend(&tail);
        bytes.truncate(bytes.len().saturating_sub(cut));
        if let Ok(Record { what: What::SampledAlloc { stack, .. } | What::Mapping { stack, .. }, .. }) =
            decode(&bytes)
        {
            prop_assert_eq!(stack.frames().len(), usize::from(frames));
            prop_assert!(usize::from(frames) * 8 <= tail.len());
            prop_assert!(stack.frames_with_caller().count() <= usize::from(frames) + 1);
        }
        let _ = decode(&tail);
    }
}
