//! The store against a model of it: whatever comes in whichever order, appends, repeats, gaps, failed syncs, crashes cut at any
//! byte behind what was synced, starts, expiries, the store has what a map from number to frame says, and tells the rest
//! as expired.
//!
//! 300 sequences of up to 16 steps, 25,000 with `HEAPTIDE_FULL=1`. What a real disk does to it is tested in
//! `hub/tests/bad_disk.rs`, damage to what was synced in `crash_tests.rs`.

use super::*;
use crate::hostile::Random;
use crate::log::Log;
use crate::session::Cursor;
use crate::store::index::Summary;
use crate::store::meta::{self, Meta};
use crate::store::record::parse_segment_name;
use crate::store::recover::recover;
use crate::store::replay::{self, Item};
use crate::store::{index::LogView, rewrite};
use heaptide_protocol::control::MissedReason;
use heaptide_protocol::frame::encode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use tokio::sync::Semaphore;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// A session and what the model says of it.
struct Modelled {
    session: Arc<Session>,
    folder: PathBuf,
    /// Acknowledged up to here.
    durable: u64,
    held: BTreeMap<u64, Vec<u8>>,
    /// Of these, what stands for expired ones.
    summaries: BTreeSet<u64>,
    /// As it was before the last step: a crash may have come before it was written anew.
    meta_before: Vec<u8>,
}

struct World {
    random: Random,
    root: tempfile::TempDir,
    writer: Writer,
    jobs: Sender<Job>,
    sessions: Vec<Modelled>,
    room: Arc<Semaphore>,
    context: String,
}

fn id(number: usize) -> SessionId {
    SessionId([number as u8 + 1; 16])
}

/// Each time the same for a number, as from a collector's spool.
fn frame(session: SessionId, seq: u64, salt: u64) -> Vec<u8> {
    let mut random = Random(seq ^ u64::from(session.0[0]) << 32 ^ salt << 48);
    let length = random.below(600);
    let payload: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
    encode(Envelope::data(session, seq, seq * 10, seq * 10 + 9), &payload).unwrap()
}

fn writer(root: &Path) -> (Writer, Sender<Job>) {
    let (jobs, queue) = std::sync::mpsc::channel();
    let limits = Limits {
        segment_bytes: 900,
        ..Limits::default()
    };
    let health = Arc::new(Health::new(Log::silent()));
    let writer = Writer::new(root.to_owned(), limits, Arc::default(), health, queue);
    (writer, jobs)
}

impl Modelled {
    fn newest_file(&self) -> Option<(PathBuf, u64)> {
        let names = fs::read_dir(&self.folder).unwrap();
        let mut plain: Vec<u64> = names
            .filter_map(|entry| parse_segment_name(entry.unwrap().file_name().to_str()?))
            .filter(|name| name.summary.is_none())
            .map(|name| name.base_seq)
            .collect();
        plain.sort_unstable();
        let base_seq = plain.pop()?;
        let last = self.session.with_log(|log| log.last_segment().cloned());
        let synced = match last {
            Some(last) if last.base_seq == base_seq => last.bytes,
            // Its head is synced before anything else is written.
            _ => SEGMENT_HEAD.len() as u64,
        };
        Some((self.folder.join(segment_name(base_seq)), synced))
    }

    /// Of what lies behind the synced bytes, some sectors are there, some not, and some never were.
    fn tear(&self, random: &mut Random, may_cut: bool) {
        let Some((path, synced)) = self.newest_file() else {
            return;
        };
        let mut bytes = fs::read(&path).unwrap();
        let length = bytes.len() as u64;
        assert!(
            length >= synced,
            "{} is shorter than what was synced",
            path.display()
        );
        for sector in synced / SECTOR_BYTES..length.div_ceil(SECTOR_BYTES) {
            let from = (sector * SECTOR_BYTES).max(synced) as usize;
            let to = ((sector + 1) * SECTOR_BYTES).min(length) as usize;
            match random.below(3) {
                0 => {}
                1 => bytes[from..to].fill(0),
                _ => bytes[from..to]
                    .iter_mut()
                    .for_each(|byte| *byte = random.next() as u8),
            }
        }
        if may_cut {
            bytes.truncate((synced + random.next() % (length - synced + 1)) as usize);
        }
        fs::write(path, bytes).unwrap();
    }

    fn acknowledged(&mut self, to_seq: u64) {
        for seq in self.durable + 1..=to_seq {
            self.held.insert(seq, frame(self.session.id, seq, 0));
        }
        self.durable = self.durable.max(to_seq);
    }

    /// What a console gets that has everything up to `after_seq`, a few frames at a time.
    fn check_replay(&self, after_seq: u64, limit_bytes: usize, context: &str) {
        let mut cursor: Cursor = self.session.cursor_after(after_seq);
        let mut next_seq = after_seq + 1;
        while let Some(stretch) = self.session.with_log(|log| log.stretch(cursor)) {
            let chunk = replay::read(&self.folder, &self.session, &stretch, cursor, limit_bytes).unwrap();
            assert_ne!(chunk.cursor, cursor, "{context}: the replay is stuck");
            for item in chunk.items {
                assert_eq!(item.first_seq(), next_seq, "{context}: after {after_seq}");
                match item {
                    Item::Frame(bytes) => {
                        let expected = self.held.get(&next_seq);
                        assert!(
                            expected.is_some_and(|expected| *expected == bytes),
                            "{context}: frame {next_seq}"
                        );
                        next_seq += 1;
                    }
                    Item::Missed(missed) => {
                        assert_eq!(missed.reason, MissedReason::Expired, "{context}: {missed:?}");
                        let kept = self.held.range(missed.from_seq..=missed.to_seq);
                        // Sums over a stretch are not for who has seen a part of it.
                        let mut kept =
                            kept.filter(|(seq, _)| after_seq == 0 || !self.summaries.contains(seq));
                        assert_eq!(kept.next(), None, "{context}: {missed:?} after {after_seq}");
                        next_seq = missed.to_seq + 1;
                    }
                }
            }
            cursor = chunk.cursor;
        }
        assert_eq!(
            next_seq,
            self.durable + 1,
            "{context}: the replay after {after_seq} ended"
        );
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            tempfile::tempdir_in(memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let (writer, jobs) = writer(root.path());
        let mut world = Self {
            random: Random(seed),
            writer,
            jobs,
            sessions: Vec::new(),
            room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            context: format!("seed {seed}"),
            root,
        };
        for number in 0..1 + world.random.below(2) {
            let session = Session::new(id(number), Meta::unknown(id(number)), LogView::new());
            world.sessions.push(Modelled {
                folder: world.root.path().join(id(number).to_string()),
                session: Arc::new(session),
                durable: 0,
                held: BTreeMap::new(),
                summaries: BTreeSet::new(),
                meta_before: Vec::new(),
            });
            let session = Arc::clone(&world.sessions[number].session);
            world.writer.save(session, None);
        }
        world
    }

    fn append_of(&self, session: &Arc<Session>, seq: u64) -> Append {
        let frame = frame(session.id, seq, 0);
        Append {
            session: Arc::clone(session),
            envelope: Envelope::data(session.id, seq, seq * 10, seq * 10 + 9),
            frame: frame.into(),
            _room: Arc::clone(&self.room).try_acquire_owned().unwrap(),
        }
    }

    /// One commit of all sessions: frames that follow on, some that are there already, or that lack something before them.
    fn append(&mut self) {
        let mut expected = Vec::new();
        for number in 0..self.sessions.len() {
            let (session, durable) = {
                let modelled = &self.sessions[number];
                (Arc::clone(&modelled.session), modelled.durable)
            };
            let first = match self.random.below(6) {
                0 => durable.saturating_sub(self.random.below(4) as u64).max(1),
                1 => durable + 2,
                _ => durable + 1,
            };
            let count = self.random.below(5) as u64;
            for seq in first..first + count {
                self.jobs
                    .send(Job::Append(self.append_of(&session, seq)))
                    .unwrap();
            }
            let follows = first <= durable + 1;
            expected.push(if follows {
                durable.max((first + count).saturating_sub(1))
            } else {
                durable
            });
        }
        let Ok(first) = self.writer.queue.try_recv() else {
            return;
        };
        assert!(self.writer.round(first));
        for (modelled, expected) in self.sessions.iter_mut().zip(expected) {
            assert_eq!(modelled.session.durable_seq(), expected, "{}", self.context);
            modelled.acknowledged(expected);
        }
    }

    /// Frames that are written and not synced. Up to which one.
    fn write_only(&mut self, number: usize) -> Batch {
        let session = Arc::clone(&self.sessions[number].session);
        let durable = self.sessions[number].durable;
        let frames = 1 + self.random.below(5) as u64;
        let mut batch = Batch {
            frames: (durable + 1..=durable + frames)
                .map(|seq| self.append_of(&session, seq))
                .collect(),
            session,
            written: Vec::new(),
        };
        self.writer.write(&mut batch).unwrap();
        batch
    }

    /// A sync that fails, and a disk that has dropped what it was for. The hub goes on.
    fn fail_to_sync(&mut self) {
        let number = self.random.below(self.sessions.len());
        let batch = self.write_only(number);
        let error = io::Error::other("the disk is bad");
        self.writer.give_up(&batch.session, batch.frames.len(), &error);
        self.sessions[number].tear(&mut self.random, false);
    }

    fn crash(&mut self) {
        if self.random.below(2) == 0 {
            let number = self.random.below(self.sessions.len());
            drop(self.write_only(number));
        }
        for modelled in &self.sessions {
            modelled.tear(&mut self.random, true);
            if self.random.below(3) == 0 {
                fs::write(modelled.folder.join(meta::NAME), &modelled.meta_before).unwrap();
            }
        }
        self.start();
    }

    /// Reads what is there; a collector learns what is durable and sends the rest again.
    fn start(&mut self) {
        (self.writer, self.jobs) = writer(self.root.path());
        for modelled in &mut self.sessions {
            let id = modelled.session.id;
            let recovered = recover(&modelled.folder, id).unwrap().unwrap();
            assert_eq!(
                recovered.damaged_places, 0,
                "{}: a tear is no damage: {:?}",
                self.context, recovered.findings
            );
            modelled.session = Arc::new(Session::new(id, recovered.meta, recovered.log));
            let there = modelled.session.durable_seq();
            assert!(
                there >= modelled.durable,
                "{}: {} was acknowledged, {there} is there",
                self.context,
                modelled.durable
            );
            modelled.acknowledged(there);
        }
    }

    /// The oldest closed segments expire, or some in the middle, with or without a summary; or a crash comes in between.
    fn expire(&mut self) {
        let number = self.random.below(self.sessions.len());
        let (folder, session) = {
            let modelled = &self.sessions[number];
            (modelled.folder.clone(), Arc::clone(&modelled.session))
        };
        let sealed: Vec<Segment> = session.with_log(|log| log.sealed().cloned().collect());
        if sealed.iter().all(|segment| segment.summary.is_some()) {
            return;
        }
        let mut from = match self.random.below(4) {
            0 => self.random.below(sealed.len()),
            _ => 0,
        };
        let mut to = from + 1 + self.random.below(sealed.len() - from);
        // Something goes that is no summary yet, and summaries beside it go with it.
        if sealed[from..to].iter().all(|segment| segment.summary.is_some()) {
            return;
        }
        while from > 0 && sealed[from - 1].summary.is_some() {
            from -= 1;
        }
        while to < sealed.len() && sealed[to].summary.is_some() {
            to += 1;
        }
        let gone = sealed[from..to].to_vec();
        let base_seqs: Vec<u64> = gone.iter().map(|segment| segment.base_seq).collect();
        let from_seq = gone[0]
            .summary
            .map_or(gone[0].base_seq, |earlier| earlier.from_seq);
        let last_seq = gone[gone.len() - 1].last_seq;
        let crash_at = self.random.below(6);
        let summary = (self.random.below(3) > 0).then(|| {
            let frames = (1 + self.random.below(3) as u64).min(last_seq + 1 - from_seq);
            let base_seq = last_seq + 1 - frames;
            let segment = Segment {
                base_seq,
                bytes: 0,
                frames,
                summary: Some(Summary {
                    from_seq,
                    sums_from_seq: base_seq + self.random.next() % frames,
                }),
                ..gone[gone.len() - 1].clone()
            };
            let frames: Vec<_> = (base_seq..=last_seq)
                .map(|seq| frame(session.id, seq, 1))
                .collect();
            let bytes = rewrite::segment(&folder, &segment, &frames).unwrap();
            Segment { bytes, ..segment }
        });
        let stands = summary.clone();
        if crash_at == 0 {
            // Nothing but the summary was written.
        } else if crash_at == 1 {
            rewrite::remove(&folder, &gone[..self.random.below(gone.len() + 1)]).unwrap();
        } else {
            session.expire(&base_seqs, summary);
            rewrite::remove(&folder, &gone).unwrap();
            self.writer.save(session, None);
        }
        let modelled = &mut self.sessions[number];
        let removed: Vec<&Segment> = gone
            .iter()
            .filter(|segment| !folder.join(segment.file_name()).exists())
            .collect();
        for segment in removed {
            let from_seq = segment
                .summary
                .map_or(segment.base_seq, |earlier| earlier.from_seq);
            modelled.forget(from_seq, segment.last_seq);
        }
        if let Some(stands) = stands {
            modelled.forget(from_seq, last_seq);
            for seq in stands.base_seq..=last_seq {
                modelled.held.insert(seq, frame(modelled.session.id, seq, 1));
                modelled.summaries.insert(seq);
            }
        }
        if crash_at < 2 {
            self.start();
        }
    }

    fn check(&mut self) {
        for modelled in &self.sessions {
            let context = &self.context;
            let (frames, bytes) = modelled
                .session
                .with_log(|log| (log.frames(), log.stored_bytes()));
            assert_eq!(frames, modelled.held.len() as u64, "{context}: frames");
            let on_disk: u64 = modelled
                .session
                .with_log(|log| log.segments().map(Segment::file_name).collect::<Vec<_>>())
                .iter()
                .map(|name| fs::metadata(modelled.folder.join(name)).expect(context).len())
                .sum();
            // What was written and given up lies behind it.
            assert!(
                on_disk >= bytes,
                "{context}: {on_disk} bytes there, {bytes} counted"
            );
            let limit_bytes = 1 + self.random.below(3000);
            modelled.check_replay(0, limit_bytes, context);
            let after_seq = self.random.next() % (modelled.durable + 1);
            modelled.check_replay(after_seq, limit_bytes, context);
        }
    }
}

impl Modelled {
    fn forget(&mut self, from_seq: u64, to_seq: u64) {
        self.held.retain(|seq, _| !(from_seq..=to_seq).contains(seq));
        self.summaries.retain(|seq| !(from_seq..=to_seq).contains(seq));
    }
}

/// One sequence; how many frames were stored, and how many of them have expired.
fn try_one(seed: u64) -> (u64, u64) {
    let mut world = World::new(seed);
    for step in 0..4 + world.random.below(13) {
        for modelled in &mut world.sessions {
            modelled.meta_before = fs::read(modelled.folder.join(meta::NAME)).unwrap();
        }
        let kind = world.random.below(10);
        world.context = format!("seed {seed}, step {step}, kind {kind}");
        match kind {
            0..5 => world.append(),
            5 => world.fail_to_sync(),
            6 => world.crash(),
            7 => world.start(),
            _ => world.expire(),
        }
        world.check();
    }
    let frames: u64 = world.sessions.iter().map(|modelled| modelled.durable).sum();
    let held: usize = world.sessions.iter().map(|modelled| modelled.held.len()).sum();
    (frames, frames - held as u64)
}

#[test]
fn the_store_is_what_a_map_from_number_to_frame_says_whatever_comes() {
    let is_full = std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1");
    let seeds = if is_full { 25_000 } else { 300 };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let (frames, expired) = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..threads)
            .map(|share| {
                scope.spawn(move || {
                    (share..seeds)
                        .step_by(threads as usize)
                        .map(try_one)
                        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
                })
            })
            .collect();
        let sums = shares.into_iter().map(|share| share.join().unwrap());
        sums.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(
        frames > 8 * seeds && expired > seeds,
        "{frames} frames, {expired} expired"
    );
}
