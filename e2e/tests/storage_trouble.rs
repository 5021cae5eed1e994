//! Full disks: of the collector, of the hub. Both say so and go on, the program notices nothing, and once there
//! is room again what was promised is kept.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::process::finish;
use heaptide_e2e::wait::let_run;
use heaptide_e2e::{Build, Go, Hub, Sites, heaptide, machine, until};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A file system of its own, a few megabytes large.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(test: &str, mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let options = format!("size={mebibytes}m");
        let mounted = finish("mount", ["-t", "tmpfs", "-o", &options, "heaptide-e2e", path]);
        if mounted.code != 0 {
            machine::skip(test, &format!("can't mount a tmpfs: {}", mounted.err));
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        // Ends with "no space left on device".
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096", "status=none"])
            .arg(format!("of={}", path.display()))
            .stderr(std::process::Stdio::null())
            .status();
        path
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a process of a failed test may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

const FLAGS: &str = "-windows 0 -window-bytes 20000000 -pace 20ms -rate 65536";

#[test]
fn a_full_disk_under_the_spool_is_told_and_frames_go_on() {
    let test = "full spool";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let Some(disk) = Tmpfs::mount(test, 2) else { return };
    let hub = Hub::start(&binary);
    let mut command = Command::new(&binary);
    command
        .args(["run", "--hub", &hub.url(), "--spool"])
        .arg(disk.path().join("spool"))
        .arg("--")
        .arg(&program)
        .args(FLAGS.split_whitespace());
    let mut sites = Sites::started(heaptide_e2e::Process::start(&mut command));
    let session = heaptide::session_of(&sites.process);
    let console = hub.console();
    console.subscribe(session);
    sites.go();
    until("frames", || {
        let now = console.view(session, |view| view.seqs.len());
        (now > 5).then_some(()).ok_or(now)
    });
    let filler = disk.fill();
    sites
        .process
        .says("frames wait in memory and would not survive heaptide");
    let before = console.view(session, |view| view.seqs.len());
    until("frames that came by way of memory", || {
        let now = console.view(session, |view| view.seqs.len());
        (now > before + 20).then_some(()).ok_or(now)
    });
    std::fs::remove_file(filler).unwrap();
    sites.process.close_stdin();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(!finished.err.contains("panicked"), "{}", finished.err);
    console.until_ended(session);
    console.view(session, |view| {
        let expected: Vec<u64> = (1..=view.seqs.len() as u64).collect();
        assert_eq!(view.seqs, expected);
        assert!(view.errors.is_empty());
    });
}

#[test]
fn a_full_disk_under_the_hub_is_told_and_what_waited_comes_later() {
    let test = "full hub";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let Some(disk) = Tmpfs::mount(test, 8) else { return };
    let hub = Hub::start_at(&binary, &disk.path().join("hub"));
    let mut sites = Sites::started(hub.run("", &program, FLAGS));
    let session = heaptide::session_of(&sites.process);
    let console = hub.console();
    console.subscribe(session);
    sites.go();
    until("frames", || {
        let now = console.view(session, |view| view.seqs.len());
        (now > 5).then_some(()).ok_or(now)
    });
    let filler = disk.fill();
    let notice = console.until("word of the full disk", |state| {
        let found = state.notices.iter().find(|notice| notice.contains("space"));
        found.cloned().ok_or_else(|| format!("{:?}", state.notices))
    });
    hub.process.says("space");
    let windows = sites.windows().len();
    let_run(Duration::from_secs(2));
    assert!(
        sites.windows().len() > windows,
        "the program stands still: {notice}"
    );
    std::fs::remove_file(filler).unwrap();
    // Catches up, without being told to.
    let reached_ns = sites.windows().last().unwrap().end_ns;
    until("what was allocated while the disk was full", || {
        let now_ns = console.headline(session).span.to_ns;
        (now_ns > reached_ns)
            .then_some(())
            .ok_or_else(|| hub.process.err.text())
    });
    sites.process.close_stdin();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    console.until_ended(session);
    let console = hub.console();
    console.until_ended(session);
    console.view(session, |view| {
        let expected: Vec<u64> = (1..=view.seqs.len() as u64).collect();
        assert_eq!(view.seqs, expected);
        assert!(view.errors.is_empty() && view.missed.is_empty());
    });
    let err = hub.process.err.text();
    assert!(!err.contains("panicked"), "{err}");
}

/// Without any room from the start, a hub can't promise anything and says so; a collector watches all the same,
/// and what it can't get rid of is told.
#[test]
fn no_room_from_the_start() {
    let test = "no room";
    let Some(binary) = machine::can_watch(test) else {
        return;
    };
    let Some(program) = Go::V1_27.sites(test, Build::Plain) else {
        return;
    };
    let Some(disk) = Tmpfs::mount(test, 8) else { return };
    let flags = "-windows 2 -window-bytes 10000000";

    let full_hub = Hub::start_at(&binary, &disk.path().join("hub"));
    let filler = disk.fill();
    let mut sites = Sites::started(full_hub.run("", &program, flags));
    let first = heaptide::session_of(&sites.process);
    full_hub.process.says("space");
    sites.go();
    let _ = sites.end();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(
        finished.err.contains("the hub does not have everything yet"),
        "{}",
        finished.err
    );
    assert!(finished.err.contains("space"), "{}", finished.err);

    // The spool has no room either.
    let Some(small) = Tmpfs::mount(test, 1) else {
        return;
    };
    let _small_filler = small.fill();
    let hub = Hub::start(&binary);
    let mut command = Command::new(&binary);
    command
        .args(["run", "--hub", &hub.url(), "--spool"])
        .arg(small.path().join("spool"))
        .arg("--")
        .arg(&program)
        .args(flags.split_whitespace());
    let mut sites = Sites::started(heaptide_e2e::Process::start(&mut command));
    let session = heaptide::session_of(&sites.process);
    sites.go();
    let _ = sites.end();
    let finished = sites.finish();
    assert_eq!(finished.code, 0, "{}", finished.err);
    assert!(finished.err.contains("frames wait in memory"), "{}", finished.err);
    hub.console().until_ended(session);

    // With room again, the next collector brings the first session.
    std::fs::remove_file(filler).unwrap();
    let sites = Sites::start(&program, "");
    let next = full_hub.attach("", sites.pid);
    full_hub.console().until_ended(first);
    assert_eq!(next.detach(), 0);
    assert_eq!(sites.finish().code, 0);
}
