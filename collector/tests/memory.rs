//! The runtime's memory, read from outside, against what the program says of itself: `runtime.MemStats`,
//! `runtime.MemProfile`, and its own mappings. No probe and no eBPF.
//!
//! Needs Go toolchains (`HEAPTIDE_GO_1_19` to `HEAPTIDE_GO_1_27`) and the right to read the memory of a child.

#![cfg(target_os = "linux")]
#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test that can't be set up has failed, and a skip is loud"
)]

#[path = "memory/program.rs"]
mod program;
#[path = "memory/stranger.rs"]
mod stranger;

use heaptide_collector::linux::memory::buckets::{Buckets, physical};
use heaptide_collector::linux::memory::heap_stats::{HeapStats, runtime_objects};
use heaptide_collector::linux::memory::layout::HeapLayout;
use heaptide_collector::linux::{GoTarget, Process, ledger, monotonic_ns};
use heaptide_collector::pipeline::Symbolize as _;
use heaptide_protocol::ledger::{Ledger, LedgerKind};
use program::{Program, builds};

/// A program with what is known of it.
struct Watched {
    program: Program,
    process: Process,
    go: GoTarget,
    layout: HeapLayout,
}

fn watched() -> impl Iterator<Item = Watched> {
    builds().into_iter().map(|build| {
        let program = Program::start(build);
        let process = Process::open(program.pid()).expect("open");
        let go = GoTarget::load(&process).expect("load");
        let layout = HeapLayout::of(&go).unwrap_or_else(|error| panic!("{}: {error}", program.name));
        Watched {
            program,
            process,
            go,
            layout,
        }
    })
}

/// What the program says, what was read right after, and whether these are the same.
fn compare_statistics(watched: &mut Watched) -> (Vec<u64>, HeapStats, bool) {
    let expected = watched.program.ask("stats").to_vec();
    let stats = HeapStats::read(&watched.process, &watched.layout).expect("read");
    let got = [
        stats.allocated_bytes,
        stats.allocated_objects,
        stats.freed_objects,
        stats.in_use_bytes,
        stats.released_bytes,
        stats.stacks_bytes,
        stats.idle_bytes + stats.metadata_bytes,
    ];
    let [total, mallocs, frees, in_use, idle, released, stacks, metadata] = expected.as_slice() else {
        panic!("{}: {expected:?}", watched.program.name);
    };
    let same = [
        *total,
        *mallocs,
        *frees,
        *in_use,
        *released,
        *stacks,
        idle + metadata,
    ];
    // Work buffers go from the collector back to the heap a little later, whole ones.
    let moved = stats.idle_bytes.abs_diff(*idle);
    let is_same = got == same && stats.settled && moved % (32 << 10) == 0 && moved <= 1 << 20;
    (expected, stats, is_same)
}

#[test]
fn statistics_equal_memstats() {
    for mut watched in watched() {
        let name = watched.program.name.clone();
        for work in ["alloc", "fill", "tiny"] {
            watched.program.ask(work);
            // The runtime starts a thread now and then, which allocates a little between the two.
            let mut tries = Vec::new();
            for _ in 0..5 {
                let (expected, stats, is_same) = compare_statistics(&mut watched);
                tries.push((expected, stats, is_same));
                if is_same {
                    break;
                }
            }
            let (_, stats, is_same) = tries.last().expect("one");
            assert!(is_same, "{name}, after {work}: {tries:?}");
            // What is live is what was allocated and not freed.
            assert!(
                stats.allocated_bytes - stats.freed_bytes <= stats.in_use_bytes,
                "{name}"
            );
        }
    }
}

/// Between two flushes too: what the processors' caches hold is counted.
#[test]
fn objects_are_counted_before_go_counts_them() {
    for mut watched in watched() {
        let name = watched.program.name.clone();
        watched.program.ask("stats");
        let read = || runtime_objects(&watched.process, &watched.layout).expect("read");
        let before = read();
        watched.program.ask("alloc");
        let after_small = read();
        watched.program.ask("tiny");
        let after_tiny = read();
        // A thread that the runtime starts meanwhile allocates a handful.
        for counted in [after_small - before, after_tiny - after_small] {
            assert!((1000..1010).contains(&counted), "{name}: {counted}");
        }
        let stats = HeapStats::read(&watched.process, &watched.layout).expect("read");
        assert!(stats.cached_objects > 0, "{name}: {stats:?}");
        // And the program's own count, once it has flushed, is the same (the collection allocates a little).
        let expected = watched.program.ask("stats");
        assert!(
            (after_tiny..after_tiny + 20).contains(&expected[1]),
            "{name}: {after_tiny} {expected:?}"
        );
    }
}

/// Buckets in use, allocated objects and bytes, freed ones, and what `main.allocate` allocated.
fn totals(watched: &mut Watched, buckets: &Buckets) -> [u64; 6] {
    let mut totals = [0; 6];
    for bucket in buckets.known() {
        let mut is_ours = false;
        for pc in &bucket.pcs {
            watched.go.symbolize(*pc, true, &mut |symbol| {
                is_ours |= symbol.function == "main.allocate";
            });
        }
        let of_bucket = [
            u64::from(bucket.allocs > 0),
            bucket.allocs,
            bucket.allocs * bucket.size_bytes,
            bucket.frees,
            bucket.frees * bucket.size_bytes,
            if is_ours { bucket.allocs } else { 0 },
        ];
        for (total, value) in totals.iter_mut().zip(of_bucket) {
            *total += value;
        }
    }
    totals
}

#[test]
fn buckets_equal_memprofile() {
    let (mut held, mut programs, mut inlined) = (0, 0, 0);
    for mut watched in watched() {
        let name = watched.program.name.clone();
        let mut buckets = Buckets::default();
        for round in 0..3 {
            watched.program.ask("alloc");
            // In the middle of a cycle, so that new buckets come in two readings.
            buckets.read(&watched.process, &watched.layout).expect("read");
            // Go publishes a sample two collections later. The runtime itself allocates now and then (a thread);
            // what it did since the last collection is in the buckets, and in the next profile.
            let mut pairs = Vec::new();
            for _ in 0..5 {
                let expected = watched.program.ask("profile").to_vec();
                buckets.read(&watched.process, &watched.layout).expect("read");
                let got = totals(&mut watched, &buckets);
                pairs.push((got.to_vec(), expected));
                if pairs.last().is_some_and(|(got, expected)| got == expected) {
                    break;
                }
            }
            let (got, expected) = pairs.last().expect("one");
            assert_eq!(got, expected, "{name}, round {round}: {pairs:?}");
            assert!(!buckets.full, "{name}");
            held += got[5];
            inlined += assert_stacks(&name, &mut watched.go, &buckets);
        }
        programs += 1;
    }
    // 64 KB each, one sample in 4 KB on the mean; a processor first uses up its distance at the old rate.
    assert!(
        held >= programs,
        "{held} samples of main.allocate in {programs} programs"
    );
    assert!(
        inlined >= programs as usize,
        "{inlined} inlined calls in {programs} programs"
    );
}

/// Go writes down each call by itself, inlined or not: the innermost one at each address. Taken as frames, with
/// what is inlined there, these must be the same calls. Says how many were inlined.
fn assert_stacks(name: &str, go: &mut GoTarget, buckets: &Buckets) -> usize {
    let mut inlined = 0;
    let mut calls = |pc| {
        let mut calls = Vec::new();
        go.symbolize(pc, true, &mut |symbol| calls.push(symbol.function.to_owned()));
        calls
    };
    for bucket in buckets.known() {
        let written: Vec<String> = bucket.pcs.iter().map(|pc| calls(*pc).swap_remove(0)).collect();
        let frames = physical(&bucket.pcs, |pc| calls(pc).len());
        inlined += written.len() - frames.len();
        let expanded: Vec<String> = frames.iter().flat_map(|pc| calls(*pc)).collect();
        assert_eq!(expanded, written, "{name}");
    }
    inlined
}

fn line(ledger: &Ledger, kind: LedgerKind) -> u64 {
    ledger
        .lines
        .iter()
        .find(|line| line.kind == kind)
        .map_or(0, |line| line.bytes)
}

/// In a process that stands still the lines add up to the page, and each says what the program knows.
#[test]
fn the_ledger_closes_to_the_page() {
    const MIB: u64 = 1 << 20;
    for mut watched in watched() {
        let name = watched.program.name.clone();
        let filled = watched.program.ask("fill").to_vec();
        let stats = watched.program.ask("stats").to_vec();
        let (mapped, heap, in_use, stacks) = (filled[0], filled[1], stats[3], stats[6]);
        watched.program.stop();
        let books = ledger::read(&watched.process, &watched.layout, &monotonic_ns).expect("read");
        let ledger = &books.ledger;
        eprintln!("{name}: {} ms, {ledger:?}", ledger.took_ns / 1_000_000);
        assert_eq!(ledger.remainder_bytes, 0, "{name}: {ledger:?}");
        assert_eq!(ledger.rss_bytes, ledger.rss_after_bytes, "{name}");

        // Heap: nearly all of it is touched. A span that is not full has pages that are not.
        let of_heap = line(ledger, LedgerKind::GO_HEAP_IN_USE);
        assert!(
            of_heap <= in_use && of_heap + MIB >= in_use,
            "{name}: {of_heap} of {in_use}"
        );
        assert!(of_heap >= heap, "{name}: {of_heap} of {heap}");
        // Stacks: each was used to its depth. Work buffers of the collector are beside them.
        let of_stacks = line(ledger, LedgerKind::GO_STACKS);
        assert!(
            of_stacks >= stacks / 3 && of_stacks <= stacks + 8 * MIB,
            "{name}: {of_stacks} of {stacks}"
        );
        // What is neither file nor Go's own: the program's mapping, and what C has.
        let native = line(ledger, LedgerKind::NATIVE);
        let expected = mapped + watched.program.native_bytes;
        assert!(
            (expected..expected + MIB / 4).contains(&native),
            "{name}: {native} of {expected}"
        );
        let runtime = line(ledger, LedgerKind::GO_RUNTIME);
        assert!(
            runtime > 100 << 10 && runtime <= stats[7] + MIB,
            "{name}: {runtime} of {stats:?}"
        );

        let regions = &books.regions;
        let shown: u64 = regions.rows.iter().map(|region| region.rss_bytes).sum();
        assert_eq!(shown + regions.other_rss_bytes, ledger.rss_bytes, "{name}");
        assert_eq!(
            regions.rows.first().map(|region| region.kind),
            Some(LedgerKind::GO_HEAP_IN_USE),
            "{name}"
        );
        watched.program.go_on();
    }
}

/// Half of each huge page is free, and stays resident for the other half's sake.
#[test]
fn huge_pages_are_told_from_idle_heap() {
    for mut watched in watched().filter(|watched| watched.program.is_plain) {
        let name = watched.program.name.clone();
        watched.program.ask("fill");
        let collapsed = watched.program.ask("pad")[0];
        watched.program.stop();
        let books = ledger::read(&watched.process, &watched.layout, &monotonic_ns).expect("read");
        watched.program.go_on();
        if collapsed == 0 || !books.knows_huge {
            program::skip(&format!("{name}: this kernel collapses no huge pages on demand"));
            continue;
        }
        let ledger = &books.ledger;
        assert_eq!(ledger.remainder_bytes, 0, "{name}: {ledger:?}");
        let padding = line(ledger, LedgerKind::HUGE_PADDING);
        // A megabyte of each of some 48 huge pages, less what was collapsed only at the edges.
        assert!((16 << 20..=64 << 20).contains(&padding), "{name}: {ledger:?}");
        let huge: u64 = books
            .regions
            .rows
            .iter()
            .map(|region| region.anon_huge_bytes)
            .sum();
        assert!(padding < huge, "{name}: {padding} of {huge}");
    }
}

/// The same figures while the program runs: they only grow, and the ledger says what it can't place.
#[test]
fn a_running_program_is_read_without_stopping_it() {
    for mut watched in watched().filter(|watched| watched.program.is_plain) {
        let name = watched.program.name.clone();
        let mut last = 0;
        for _ in 0..8 {
            watched.program.tell("alloc");
            let objects = runtime_objects(&watched.process, &watched.layout).expect("read");
            assert!(objects >= last, "{name}: {objects} after {last}");
            last = objects;
            let books = ledger::read(&watched.process, &watched.layout, &monotonic_ns).expect("read");
            let told: u64 = books.ledger.lines.iter().map(|line| line.bytes).sum();
            assert_eq!(
                books.ledger.rss_bytes as i64 - told as i64,
                books.ledger.remainder_bytes,
                "{name}"
            );
            watched.program.hear();
        }
    }
}
