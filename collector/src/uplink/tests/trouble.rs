//! The spool on disks that fail: a real tmpfs that is small, full or read-only.

use super::*;
use std::path::PathBuf;

struct SmallDisk {
    dir: tempfile::TempDir,
    mounted: bool,
}

impl SmallDisk {
    /// `None`, said loudly, where one can't be mounted.
    fn mount(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Self { dir, mounted: false };
        disk.mounted = disk.run(&["-t", "tmpfs", "-o", options, "none"]);
        if disk.mounted {
            return Some(disk);
        }
        skip(
            "uplink::tests::trouble",
            "a tmpfs can't be mounted here; run as root",
        );
        None
    }

    fn remount(&self, options: &str) {
        assert!(
            self.run(&["-o", &format!("remount,{options}")]),
            "remount {options}"
        );
    }

    fn run(&self, args: &[&str]) -> bool {
        let ran = Command::new("mount")
            .args(args)
            .arg(self.dir.path())
            .stderr(Stdio::null())
            .status();
        ran.is_ok_and(|status| status.success())
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("spool")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.mounted {
            let _ = Command::new("umount").arg(self.dir.path()).status();
        }
    }
}

fn expected(seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, Vec<u8>)> {
    seqs.map(|seq| (seq, data(1, seq))).collect()
}

/// Appends until the disk is full; returns the last number.
fn fill(spool: &mut Spool) -> u64 {
    while spool.is_on_disk() {
        let seq = spool.last_seq() + 1;
        assert!(seq < 10_000, "the disk does not fill up");
        spool.append(seq, &data(1, seq)).unwrap();
    }
    spool.last_seq()
}

#[test]
fn a_full_disk_costs_no_frame_and_is_said_once() {
    let Some(disk) = SmallDisk::mount("size=256k") else {
        return;
    };
    let mut spool = Spool::create(&disk.root(), head(1), MANY_BYTES).unwrap();
    let full_at = fill(&mut spool);
    assert!(full_at > 50, "{full_at}");
    let notice = spool.take_notice();
    assert!(
        matches!(&notice, Some(SpoolNotice::FellBack { error }) if error.contains("No space left")),
        "{notice:?}"
    );
    for seq in full_at + 1..=full_at + 100 {
        spool.append(seq, &data(1, seq)).unwrap();
        assert_eq!(spool.take_notice(), None, "said again at {seq}");
    }
    assert_eq!(contents(&mut spool), expected(1..=full_at + 100));
    // A collector that dies now loses what is in memory and nothing else.
    disk.remount("size=8m");
    spool.append(full_at + 101, &data(1, full_at + 101)).unwrap();
    assert_eq!(spool.take_notice(), Some(SpoolNotice::Recovered));
    assert!(spool.is_on_disk());
    assert_eq!(contents(&mut spool), expected(1..=full_at + 101));
    drop(spool);
    let mut again = only_orphan(&disk.root()).open().unwrap();
    assert_eq!(again.recovery().cut_bytes, 0);
    assert_eq!(contents(&mut again), expected(1..=full_at + 101));
}

#[test]
fn what_was_acknowledged_from_memory_leaves_no_hole() {
    let Some(disk) = SmallDisk::mount("size=256k") else {
        return;
    };
    let mut spool = Spool::create(&disk.root(), head(1), MANY_BYTES).unwrap();
    let full_at = fill(&mut spool);
    for seq in full_at + 1..=full_at + 50 {
        spool.append(seq, &data(1, seq)).unwrap();
    }
    spool.ack(full_at + 20);
    assert!(spool.first_seq() <= full_at + 21);
    disk.remount("size=8m");
    spool.append(full_at + 51, &data(1, full_at + 51)).unwrap();
    assert!(spool.is_on_disk());
    assert_eq!(
        spool.next_after(full_at + 20).unwrap(),
        Some((full_at + 21, data(1, full_at + 21)))
    );
    drop(spool);
    let mut again = only_orphan(&disk.root()).open().unwrap();
    assert_eq!(again.recovery().cut_bytes, 0);
    assert_eq!(contents(&mut again), expected(full_at + 21..=full_at + 51));
}

#[test]
fn memory_is_bounded_too() {
    let Some(disk) = SmallDisk::mount("size=256k") else {
        return;
    };
    let mut spool = Spool::create(&disk.root(), head(1), MANY_BYTES).unwrap();
    fill(&mut spool);
    let error = loop {
        let seq = spool.last_seq() + 1;
        let frame = data_up_to(1, seq, 200_000);
        assert!(spool.bytes() < 20 << 20);
        let had_room = spool.has_room(frame.len());
        match spool.append(seq, &frame) {
            Ok(()) => assert!(had_room),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, SpoolError::Full { max_bytes, .. } if max_bytes == 16 << 20),
        "{error}"
    );
    let last = spool.last_seq();
    spool.ack(last);
    spool.append(last + 1, &data(1, last + 1)).unwrap();
    assert_eq!(
        spool.next_after(last).unwrap(),
        Some((last + 1, data(1, last + 1)))
    );
}

#[test]
fn a_disk_that_is_read_only_at_first_is_used_when_it_can_be() {
    let Some(disk) = SmallDisk::mount("size=8m") else {
        return;
    };
    disk.remount("ro");
    let mut spool = Spool::create(&disk.root(), head(1), MANY_BYTES).unwrap();
    let notice = spool.take_notice();
    assert!(
        matches!(&notice, Some(SpoolNotice::FellBack { error }) if error.contains("Read-only")),
        "{notice:?}"
    );
    for seq in 1..=30 {
        spool.append(seq, &data(1, seq)).unwrap();
    }
    spool.ack(10);
    assert_eq!(spool.take_notice(), None);
    assert_eq!(contents(&mut spool), expected(11..=30));
    disk.remount("rw");
    spool.append(31, &data(1, 31)).unwrap();
    assert_eq!(spool.take_notice(), Some(SpoolNotice::Recovered));
    drop(spool);
    let mut again = only_orphan(&disk.root()).open().unwrap();
    assert_eq!(contents(&mut again), expected(11..=31));
}
