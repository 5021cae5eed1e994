//! The books from end to end: every record that came to the pipeline is a row that the hub has stored, or was shed, or was
//! dropped for a reason that is told, whatever happens to the hub meanwhile: here it is killed, stands still, and comes
//! back, and the spool fills up.
//!
//! A few seconds; ten minutes with `HEAPTIDE_FULL=1`.

use super::loss::loss_report;
use super::outgoing::{Outgoing, Store};
use crate::linux::bpf::{AbiError, At, Counters, Record, Stack, What};
use crate::pipeline::{Pipeline, PipelineConfig, Symbol, Symbolize};
use crate::uplink::tests::hub::{Console, HubProcess};
use crate::uplink::tests::{PATIENCE, head, session, soon};
use crate::uplink::{Outcome, Spool, Uplink};
use heaptide_policy::Tiers;
use heaptide_protocol::control::Subscribe;
use heaptide_protocol::events::EventKind;
use heaptide_protocol::loss::{DropReason, Flaw, Hop, LossReport};
use heaptide_protocol::section::{Section, Sections};
use heaptide_protocol::session::EventClass;
use heaptide_protocol::{Frame, FrameKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TICK_NS: u64 = 100_000_000;
/// A tick must find 2 MiB of room, so only a little is kept while the hub is away.
const SPOOL_BYTES: u64 = (2 << 20) + (96 << 10);
/// Ten times as fast as a collector's.
const TICK: Duration = Duration::from_millis(10);

struct Nameless;

impl Symbolize for Nameless {
    fn symbolize(&mut self, pc: u64, _: bool, emit: &mut dyn FnMut(Symbol<'_>)) -> bool {
        emit(Symbol {
            function: &format!("f{pc}"),
            file: "",
            line: 0,
            inlined: false,
        });
        true
    }

    fn unrelocated(&self, pc: u64) -> u64 {
        pc
    }
}

/// What was put in, by what is to come of it.
#[derive(Debug, Default)]
struct Produced {
    allocations: u64,
    frees: u64,
    /// Frees of what was never allocated.
    unmatched: u64,
    malformed: u64,
    /// Allocations at an address that was not freed.
    replaced: u64,
}

impl Produced {
    fn all(&self) -> u64 {
        self.allocations + self.frees + self.unmatched + self.malformed
    }
}

/// A program that allocates and frees, and now and then what no program does.
struct Program {
    random: u64,
    live: Vec<u64>,
    next_address: u64,
    produced: Produced,
}

impl Program {
    fn below(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 20) % end
    }

    fn put(&mut self, pipeline: &mut Pipeline, ts_ns: u64, what: What<'_>) {
        let tid = self.below(4) as u32;
        let at = At {
            ts_ns,
            tgid: 1,
            tid,
            cpu: 0,
        };
        pipeline.record(&Record { at, what }, &mut Nameless);
    }

    /// What happens in the tick that ends at `end_ns`.
    fn tick(&mut self, pipeline: &mut Pipeline, end_ns: u64) {
        for _ in 0..1000 + self.below(2000) {
            let ts_ns = end_ns - 1 - self.below(TICK_NS - 1);
            let goid = Some(self.below(20));
            let site = [1 + self.below(40) as u8; 8];
            let size_bytes = 16 << self.below(12);
            let alloc = |addr| What::SampledAlloc {
                goid,
                addr,
                size_bytes,
                stack: Stack::of_bytes(&site),
            };
            match self.below(1000) {
                0 => {
                    self.produced.malformed += 1;
                    pipeline.malformed(&AbiError::UnknownKind { kind: 99 });
                }
                1..4 => {
                    self.produced.unmatched += 1;
                    let addr = u64::MAX - self.below(1 << 20);
                    self.put(pipeline, ts_ns, What::SampledFree { addr, size_bytes: 0 });
                }
                4..6 if !self.live.is_empty() => {
                    let at = self.below(self.live.len() as u64) as usize;
                    self.produced.allocations += 1;
                    self.produced.replaced += 1;
                    self.put(pipeline, end_ns - 1, alloc(self.live[at]));
                }
                6..400 if self.live.len() > 1000 => {
                    let at = self.below(self.live.len() as u64) as usize;
                    let addr = self.live.swap_remove(at);
                    self.produced.frees += 1;
                    // Behind its allocation, which may be of this tick.
                    self.put(pipeline, end_ns - 1, What::SampledFree { addr, size_bytes: 0 });
                }
                _ if self.live.len() < 20_000 => {
                    self.produced.allocations += 1;
                    self.next_address += 16;
                    self.live.push(self.next_address);
                    self.put(pipeline, ts_ns, alloc(self.next_address));
                }
                _ => {}
            }
        }
    }
}

/// What the hub has, added up.
#[derive(Debug, Default)]
struct Stored {
    frames: u64,
    alloc_rows: u64,
    free_rows: u64,
    births: u64,
    deaths: u64,
    books: Option<LossReport>,
}

impl Stored {
    async fn at(address: SocketAddr) -> Self {
        let mut stored = Self::default();
        let mut console = Console::connect(address).await;
        console
            .send(FrameKind::Subscribe, session(1), &Subscribe { after_seq: 0 })
            .await;
        loop {
            let bytes = console.next().await;
            let frame = Frame::parse(&bytes).unwrap();
            match frame.envelope.kind {
                FrameKind::Data => {
                    stored.frames += 1;
                    // Each once and in order.
                    assert_eq!(frame.envelope.seq, stored.frames);
                    stored.add(frame.raw(&mut Vec::new()).unwrap());
                }
                FrameKind::CaughtUp => return stored,
                FrameKind::Welcome | FrameKind::Sessions => {}
                other => panic!("{other:?} behind frame {}", stored.frames),
            }
        }
    }

    fn add(&mut self, payload: &[u8]) {
        for section in Sections::new(payload) {
            match section.unwrap() {
                Section::Events(batch) => {
                    for event in batch.iter() {
                        match event.kind {
                            EventKind::Alloc => self.alloc_rows += 1,
                            EventKind::Free => self.free_rows += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                }
                Section::Lifetimes(table) => {
                    let sum = |counts: &mut dyn Iterator<Item = u32>| counts.map(u64::from).sum::<u64>();
                    self.births += sum(&mut table.births.iter().map(|birth| birth.count));
                    self.deaths += sum(&mut table.deaths.iter().map(|death| death.count));
                }
                Section::Loss(report) => self.books = Some(report),
                _ => {}
            }
        }
    }

    /// Nothing is anywhere but in a row, in a count of what was shed, or in a reason.
    fn check(&self, produced: &Produced) {
        let books = self.books.as_ref().expect("no report of losses was stored");
        let is_ours = |hop: &&heaptide_protocol::loss::HopCount| {
            hop.hop == Hop::Collector && hop.class == EventClass::Allocation
        };
        let hop = books.hops.iter().find(is_ours).unwrap();
        let dropped = |reason| {
            let of = hop.dropped.iter().filter(|drop| drop.reason == reason);
            of.map(|drop| drop.count).sum::<u64>()
        };
        let flaw = |wanted| {
            let of = books.flaws.iter().filter(|flaw| flaw.flaw == wanted);
            of.map(|flaw| flaw.count).sum::<u64>()
        };
        let context = format!("{produced:?}, {self:?}");
        assert_eq!(hop.seen, produced.all(), "{context}");
        assert_eq!(hop.imbalance(), 0, "{context}");
        assert_eq!(dropped(DropReason::Malformed), produced.malformed, "{context}");
        assert_eq!(
            dropped(DropReason::UnmatchedFree),
            produced.unmatched,
            "{context}"
        );
        assert_eq!(flaw(Flaw::FreeMissed), produced.replaced, "{context}");
        let all_dropped: u64 = hop.dropped.iter().map(|drop| drop.count).sum();
        assert_eq!(all_dropped, produced.malformed + produced.unmatched, "{context}");
        // As lifetimes, which are never shed.
        assert_eq!(self.births, produced.allocations, "{context}");
        assert_eq!(self.deaths, produced.frees + produced.replaced, "{context}");
        // As event rows.
        let rows = self.alloc_rows + self.free_rows;
        let shed = flaw(Flaw::EventRowShed);
        assert_eq!(rows + shed + all_dropped, produced.all(), "{context}");
        assert!(rows > 0 && shed > 0, "the spool was never full: {context}");
    }
}

/// What the hub suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Dead,
    StandsStill,
}

/// Least squares: how fast it grows, in MiB an hour.
fn slope_mib_per_h(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_s, mean_bytes) = (mean(&|point| point.0), mean(&|point| point.1));
    let both: f64 = points
        .iter()
        .map(|(s, bytes)| (s - mean_s) * (bytes - mean_bytes))
        .sum();
    let square: f64 = points.iter().map(|(s, _)| (s - mean_s).powi(2)).sum();
    both / square * 3600.0 / f64::from(1 << 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_produced_is_stored_or_shed_or_dropped_for_a_reason() {
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let (length, trouble_every) = if is_full {
        (Duration::from_secs(600), 600)
    } else {
        (Duration::from_secs(6), 150)
    };
    let (dir, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut hub = HubProcess::start(dir.path()).await;
    let spool = Spool::create(root.path(), head(1), SPOOL_BYTES).unwrap();
    let spool = Arc::new(Mutex::new(spool));
    let mut outgoing = Outgoing::new(session(1), Store::Spool(Arc::clone(&spool)));
    let (handle, mut events) = Uplink::start(hub.config(), spool);
    // Somebody has to listen.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let config = PipelineConfig {
        tick_ns: TICK_NS,
        tiers: Tiers {
            always_from_bytes: 0,
            hashed_from_bytes: 0,
            hashed_percent: 100,
        },
        addresses: true,
        wakep_site: true,
        stop_reasons: true,
        processors: 2,
    };
    let mut pipeline = Pipeline::new(config, 512);
    let mut program = Program {
        random: 0x2545_f491_4f6c_dd1d,
        live: Vec::new(),
        next_address: 1 << 20,
        produced: Produced::default(),
    };
    let (begin, mut resident, mut held) = (Instant::now(), Vec::new(), 0);
    let (mut tick, mut trouble) = (0, Trouble::None);
    while begin.elapsed() < length || trouble != Trouble::None {
        tick += 1;
        let end_ns = tick * TICK_NS;
        program.tick(&mut pipeline, end_ns);
        match (tick % trouble_every, tick / trouble_every % 2) {
            (50, 0) => {
                hub.kill();
                trouble = Trouble::Dead;
            }
            (50, _) => {
                hub.stand_still(true);
                trouble = Trouble::StandsStill;
            }
            (100, _) => match std::mem::replace(&mut trouble, Trouble::None) {
                Trouble::Dead => hub.restart().await,
                Trouble::StandsStill => hub.stand_still(false),
                Trouble::None => {}
            },
            (149, _) => resident.push((begin.elapsed().as_secs_f64(), hub.rss_bytes() as f64)),
            _ => {}
        }
        if outgoing.has_room() {
            let output = pipeline.close_tick(end_ns);
            let mut sections = output.sections;
            if tick % 10 == 0 {
                let report = loss_report(&Counters::default(), pipeline.books(), end_ns);
                sections.push(Section::Loss(report));
            }
            outgoing.send(&sections, output.first_ns, output.last_ns).unwrap();
            handle.notify();
        } else {
            pipeline.hold_tick(end_ns);
            held += 1;
        }
        tokio::time::sleep(TICK).await;
    }
    soon("room in the spool", async {
        while !outgoing.has_room() {
            tokio::time::sleep(TICK).await;
        }
    })
    .await;
    let output = pipeline.close_tick((tick + 1) * TICK_NS);
    let mut sections = output.sections;
    let report = loss_report(&Counters::default(), pipeline.books(), output.last_ns);
    sections.push(Section::Loss(report));
    outgoing.send(&sections, output.first_ns, output.last_ns).unwrap();
    assert_eq!(soon("finishing", handle.finish(PATIENCE)).await, Outcome::Ended);
    let stored = Stored::at(hub.address).await;
    stored.check(&program.produced);
    // Once more from disk alone.
    hub.kill();
    hub.restart().await;
    Stored::at(hub.address).await.check(&program.produced);
    let frames = stored.frames;
    println!(
        "{} records in {frames} frames, {held} of {tick} ticks held open",
        program.produced.all()
    );
    if is_full {
        // After the first tenth, in which it takes what it needs. Runs between two kills are short, so it is only noted.
        let settled = &resident[resident.len() / 10..];
        println!("resident: {:.1} MiB an hour", slope_mib_per_h(settled));
        let most = settled.iter().map(|point| point.1).fold(0.0, f64::max);
        assert!(most < f64::from(256 << 20), "{most} bytes resident");
    }
}
