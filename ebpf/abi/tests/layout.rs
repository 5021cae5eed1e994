//! Golden layout: the size of each shared structure and the offset of each field.
//!
//! The eBPF object may be older than its reader (it is a file of its own in development), so a change
//! here must be a decision, never an accident.

use core::mem::offset_of;

use heaptide_ebpf_abi::{
    CLASS_COUNT, COUNTER_WORDS, Class, ClassCounters, EXACT_SAMPLE_BYTES, ExactControl, ExactCounts,
    ExactKey, ExactRowCounts, ExactSample, ExactStack, ExactThread, GcWork, Goroutine, HUGE_LAYOUT_WORDS,
    Header, HugeLayout, HugePage, KERNEL_CONFIG_WORDS, KernelConfig, Mapping, PageFault, RECORD_MAX_BYTES,
    RecordKind, Registers, SUMS_WORDS, SampledAlloc, SampledFree, Sums, SyscallKind, TargetConfig, Wait,
    fault_chance,
};

macro_rules! layout {
    ($($type:ident = $size:literal { $($field:ident @ $offset:literal),* $(,)? })*) => {
        [$(
            (concat!(stringify!($type), " size"), size_of::<$type>(), $size),
            $((concat!(stringify!($type), ".", stringify!($field)), offset_of!($type, $field), $offset),)*
        )*]
    };
}

#[test]
fn layout_is_golden() {
    let table = layout! {
        Header = 24 { kind @ 0, flags @ 2, stack_frames @ 4, cpu @ 6, ts_ns @ 8, tgid @ 16, tid @ 20 }
        SampledAlloc = 56 { header @ 0, goid @ 24, addr @ 32, size_bytes @ 40, caller_pc @ 48 }
        SampledFree = 40 { header @ 0, addr @ 24, size_bytes @ 32 }
        Registers = 56 { header @ 0, args @ 24 }
        Mapping = 104 {
            header @ 0, syscall @ 24, reserved @ 28, enter_ns @ 32, args @ 40, result @ 88, caller_pc @ 96,
        }
        PageFault = 48 { header @ 0, addr @ 24, error_code @ 32, one_in @ 40 }
        HugePage = 40 { header @ 0, addr @ 24, status @ 32, succeeded @ 36 }
        GcWork = 40 { header @ 0, goid @ 24, begin_ns @ 32 }
        Wait = 32 { header @ 0, begin_ns @ 24 }
        KernelConfig = 40 {
            armed_ns @ 0, wait_min_ns @ 8, work_min_ns @ 16, faults_one_in @ 24, fault_chance @ 32,
        }
        Sums = 56 {
            faults @ 0, waits @ 8, wait_ns @ 16, assists @ 24, assist_ns @ 32, sweeps @ 40, sweep_ns @ 48,
        }
        HugeLayout = 40 {
            status_at @ 0, succeeded @ 4, nothing @ 8, mm_owner @ 12, task_tgid @ 16, task_thread_pid @ 20,
            pid_numbers @ 24, upid_ns @ 28, ns_inum @ 32, upid_bytes @ 36,
        }
        Goroutine = 56 { header @ 0, goid @ 24, pc @ 32, stack_bytes @ 40, new_stack_bytes @ 48 }
        TargetConfig = 32 {
            enabled @ 0, kind_special_profile @ 4, g_goid @ 8, g_m @ 12, m_curg @ 16, special_kind @ 20,
            g_gopc @ 24, g_sched_pc @ 28,
        }
        ClassCounters = 72 {
            seen @ 0, sent @ 8, dropped_ring_full @ 16, dropped_no_buffer @ 24, dropped_unpaired @ 32,
            stack_failed @ 40, stack_truncated @ 48, filtered @ 56, disabled @ 64,
        }
        ExactKey = 24 { stack_hash @ 0, type_address @ 8, class @ 16 }
        ExactRowCounts = 16 { objects @ 0, bytes @ 8 }
        ExactStack = 1024 { frames @ 0, pcs @ 8 }
        ExactControl = 24 { on @ 0, header_above_bytes @ 8, at_stack_check @ 16 }
        ExactCounts = 48 {
            seen @ 0, unrowed_objects @ 8, unrowed_bytes @ 16, stacks_lost @ 24, threads_lost @ 32,
            samples_lost @ 40,
        }
        ExactThread = 16 { since_bytes @ 0, tiny_offset @ 8 }
        ExactSample = 16 { before_bytes @ 0, size_bytes @ 8 }
    };
    for (what, got, expected) in table {
        assert_eq!(got, expected, "{what}");
    }
    assert_eq!(RECORD_MAX_BYTES, 1120);
    assert_eq!(EXACT_SAMPLE_BYTES, 16);
    assert_eq!(size_of::<ClassCounters>(), COUNTER_WORDS * 8);
    assert_eq!(size_of::<KernelConfig>(), KERNEL_CONFIG_WORDS * 8);
    assert_eq!(size_of::<Sums>(), SUMS_WORDS * 8);
    assert_eq!(size_of::<HugeLayout>(), HUGE_LAYOUT_WORDS * 4);
}

#[test]
fn one_fault_in_so_many() {
    for (one_in, chance) in [
        (0, 0),
        (1, u64::from(u32::MAX)),
        (2, (1 << 31) - 1),
        (u32::MAX, 0),
    ] {
        assert_eq!(fault_chance(one_in), chance, "one in {one_in}");
    }
}

#[test]
fn words_follow_the_fields() {
    let config = TargetConfig {
        enabled: 1,
        kind_special_profile: 2,
        g_goid: 3,
        g_m: 4,
        m_curg: 5,
        special_kind: 6,
        g_gopc: 7,
        g_sched_pc: 8,
    };
    assert_eq!(config.to_words(), [1, 2, 3, 4, 5, 6, 7, 8]);

    let config = KernelConfig {
        armed_ns: 1,
        wait_min_ns: 2,
        work_min_ns: 3,
        faults_one_in: 4,
        fault_chance: 5,
    };
    assert_eq!(config.to_words(), [1, 2, 3, 4, 5]);
    let sums = Sums::from_words([1, 2, 3, 4, 5, 6, 7]);
    assert_eq!((sums.faults, sums.waits, sums.wait_ns), (1, 2, 3));
    assert_eq!(
        (sums.assists, sums.assist_ns, sums.sweeps, sums.sweep_ns),
        (4, 5, 6, 7)
    );
    let layout = HugeLayout {
        status_at: 1,
        succeeded: 2,
        nothing: 3,
        mm_owner: 4,
        task_tgid: 5,
        task_thread_pid: 6,
        pid_numbers: 7,
        upid_ns: 8,
        ns_inum: 9,
        upid_bytes: 10,
    };
    assert_eq!(layout.to_words(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);

    let control = ExactControl {
        on: 1,
        header_above_bytes: 2,
        at_stack_check: 3,
    };
    assert_eq!(control.to_words(), [1, 2, 3]);
    let counts = ExactCounts::from_words([1, 2, 3, 4, 5, 6]);
    assert_eq!(
        (counts.seen, counts.unrowed_objects, counts.unrowed_bytes),
        (1, 2, 3)
    );
    assert_eq!(
        (counts.stacks_lost, counts.threads_lost, counts.samples_lost),
        (4, 5, 6)
    );
    assert_eq!(counts.plus(counts), ExactCounts::from_words([2, 4, 6, 8, 10, 12]));

    let counters = ClassCounters::from_words([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(
        (counters.seen, counters.sent, counters.dropped()),
        (1, 2, 3 + 4 + 5)
    );
    assert_eq!((counters.stack_failed, counters.stack_truncated), (6, 7));
    assert_eq!((counters.filtered, counters.disabled), (8, 9));
    assert_eq!(
        counters.plus(counters),
        ClassCounters::from_words([2, 4, 6, 8, 10, 12, 14, 16, 18])
    );
}

#[test]
fn numbers_round_trip() {
    for raw in 0..=u16::MAX {
        if let Some(kind) = RecordKind::from_u16(raw) {
            assert_eq!(kind as u16, raw);
        }
    }
    assert_eq!((0..=u16::MAX).filter_map(RecordKind::from_u16).count(), 16);
    for call in SyscallKind::ALL {
        assert_eq!(SyscallKind::from_u32(call as u32), Some(call));
    }
    assert_eq!(SyscallKind::from_u32(0), None);
    assert_eq!(Class::ALL.len(), CLASS_COUNT as usize);
    for (at, class) in Class::ALL.into_iter().enumerate() {
        assert_eq!((class as usize, class.bit()), (at, 1 << at));
    }
}
