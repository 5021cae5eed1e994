//! `heaptide record`, `report`, `export` and `diff` on real programs, and on what is left of a killed
//! recorder.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::process::{Finished, Process, finish, finish_command};
use heaptide_e2e::{Build, Go, Hub, Sites, heaptide, machine, until};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const RATE_BYTES: u64 = 65_536;
const SITES: [&str; 6] = [
    "main.siteSmall",
    "main.siteStrings",
    "main.siteMap",
    "main.siteBuffers",
    "main.siteLarge",
    "main.siteLeak",
];

/// The binary, the program, and a folder for files.
struct Scene {
    binary: PathBuf,
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Scene {
    fn set(test: &str) -> Option<Self> {
        Some(Self {
            binary: machine::can_watch(test)?,
            program: Go::V1_27.sites(test, Build::Plain)?,
            folder: tempfile::tempdir().unwrap(),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&self.binary, arguments)
    }

    /// Standard output as JSON, of a command that must succeed.
    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 0, "{arguments:?}: {}", finished.err);
        serde_json::from_str(&finished.out).unwrap()
    }

    /// `heaptide record` of the program from its start to its end.
    fn record(&self, file: &Path, flags: &str) -> heaptide_e2e::sites::ExactEnd {
        let mut command = Command::new(&self.binary);
        command
            .args(["record", "-o"])
            .arg(file)
            .arg("--")
            .arg(&self.program)
            .args(flags.split_whitespace());
        let mut sites = Sites::started(Process::start(&mut command));
        sites.go();
        let end = sites.end();
        let finished = sites.finish();
        assert_eq!(finished.code, 0, "{}", finished.err);
        assert!(finished.err.contains("heaptide report"), "{}", finished.err);
        end
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Bytes by function, from a report.
fn by_function(report: &Value) -> BTreeMap<String, [f64; 3]> {
    let mut functions: BTreeMap<String, [f64; 3]> = BTreeMap::new();
    for site in report["heap"]["sites"].as_array().unwrap() {
        let name = site["function"].as_str().unwrap().to_owned();
        let figure = &site["bytes"];
        assert_eq!(figure["method"], "sampled");
        let sums = functions.entry(name).or_default();
        for (sum, part) in sums.iter_mut().zip(["low", "value", "high"]) {
            *sum += number(&figure[part]);
        }
    }
    functions
}

/// Bytes that `go tool pprof -top` says each function allocated itself.
fn pprof_top(profile: &Path, index: &str) -> BTreeMap<String, f64> {
    // The newest release would first have to compile its pprof.
    let go = std::env::var_os("HEAPTIDE_GO_1_22").unwrap();
    let mut command = Command::new(go);
    command
        .envs([
            ("GOPROXY", "off"),
            ("GOTOOLCHAIN", "local"),
            ("GOTELEMETRY", "off"),
        ])
        .env("PPROF_TMPDIR", profile.parent().unwrap())
        .args([
            "tool",
            "pprof",
            "-top",
            "-nodecount=1000",
            "-nodefraction=0",
            "-unit=B",
        ])
        .arg(format!("-sample_index={index}"))
        .arg(profile);
    let finished = finish_command(&mut command);
    assert_eq!(finished.code, 0, "{}", finished.err);
    let rows = finished
        .out
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("flat "));
    rows.skip(1)
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let flat = words[0].trim_end_matches('B').parse().unwrap();
            (words[5..].join(" ").replace(" (inline)", ""), flat)
        })
        .collect()
}

#[test]
fn a_recording_holds_the_truth_and_pprof_reads_the_same_from_its_export() {
    let test = "recording";
    let Some(scene) = Scene::set(test) else { return };
    if Go::V1_22.sites(test, Build::Plain).is_none() {
        return;
    }
    let file = scene.file("a.htl");
    let flags = format!("-rate {RATE_BYTES} -windows 5 -window-bytes 100000000 -leak -gc");
    let end = scene.record(&file, &flags);

    let profile = scene.file("a.pb.gz");
    for (metric, index) in [("allocated", "alloc_space"), ("live", "inuse_space")] {
        let report = scene.json(&[
            "report",
            text(&file),
            "--json",
            "--metric",
            metric,
            "--limit",
            "1000",
        ]);
        assert_eq!(report["flaws"], Value::Array(Vec::new()));
        assert_eq!(report["headline"]["dropped"], 0);
        let functions = by_function(&report);
        if metric == "allocated" {
            for site in SITES {
                // Six intervals at 99 % in one run: each gets twice its width.
                let [low, value, high] = functions[site];
                let exact = end.bytes[site] as f64;
                assert!(
                    value - 2.0 * (value - low) <= exact && exact <= value + 2.0 * (high - value),
                    "{site}: {exact} bytes, {value} in {low} to {high}"
                );
            }
        }
        let exported = scene.run(&[
            "export",
            text(&file),
            "--format",
            "pprof",
            "--metric",
            metric,
            "-o",
            text(&profile),
        ]);
        assert_eq!(exported.code, 0, "{}", exported.err);
        let top = pprof_top(&profile, index);
        let mut compared = 0;
        for (name, [_, value, _]) in &functions {
            let flat = top.get(name).copied().unwrap_or(0.0);
            // Each sample of the profile is rounded to a byte.
            assert!(
                (flat - value).abs() <= 64.0,
                "{index} of {name}: {flat} in pprof, {value} here"
            );
            compared += usize::from(*value > 0.0);
        }
        assert!(compared >= if metric == "live" { 1 } else { 6 }, "{functions:?}");
        let (theirs, ours) = (
            top.values().sum::<f64>(),
            number(&report["heap"]["total_bytes"]["value"]),
        );
        assert!(
            (theirs - ours).abs() / ours < 1e-4,
            "{index}: {theirs} in pprof, {ours} here"
        );
    }

    let collapsed = scene.run(&[
        "export",
        text(&file),
        "--format",
        "collapsed",
        "--metric",
        "allocated",
        "-o",
        "-",
    ]);
    assert_eq!(collapsed.code, 0, "{}", collapsed.err);
    for site in SITES {
        assert!(
            collapsed.out.contains(&format!(";{site} ")),
            "{site} in {}",
            collapsed.out
        );
    }
    let firefox = scene.json(&["export", text(&file), "--format", "firefox", "-o", "-"]);
    assert!(firefox["threads"][0]["nativeAllocations"]["length"].as_u64() > Some(6));

    let told = scene.run(&["report", text(&file), "--kind", "all"]);
    assert_eq!(told.code, 0, "{}", told.err);
    for part in [
        "go1.27",
        "live heap",
        "sampled every 64.0 KiB, 99 % intervals",
        "main.siteLeak",
    ] {
        assert!(told.out.contains(part), "no {part:?} in {}", told.out);
    }
}

#[test]
fn a_killed_recorder_leaves_all_but_the_record_that_it_was_writing() {
    let test = "recording (killed)";
    let Some(scene) = Scene::set(test) else { return };
    let file = scene.file("killed.htl");
    let flags = format!("-rate {RATE_BYTES} -windows 0 -window-bytes 20000000 -pace 20ms");
    let mut sites = Sites::start(&scene.program, &flags);
    let mut command = Command::new(&scene.binary);
    command
        .args(["record", "-o"])
        .arg(&file)
        .arg(sites.pid.to_string());
    let mut recorder = Process::start(&mut command);
    let _ = recorder.says("watching process");
    sites.go();
    until("some frames in the file", || {
        let bytes = std::fs::metadata(&file).map_or(0, |meta| meta.len());
        (bytes > 30_000).then_some(()).ok_or(bytes)
    });
    recorder.kill();
    let whole = scene.json(&["report", text(&file), "--json", "--metric", "allocated"]);
    let frames = whole["frames"].as_u64().unwrap();
    assert!(frames > 5, "{whole}");
    let flaws = whole["flaws"].to_string();
    assert!(flaws.contains("it has no end"), "{flaws}");
    assert!(number(&whole["heap"]["total_bytes"]["value"]) > 1e6, "{whole}");

    // As a full disk or a power cut leaves it.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 5]).unwrap();
    let torn = scene.json(&["report", text(&file), "--json"]);
    let flaws = torn["flaws"].to_string();
    assert!(flaws.contains("no whole record"), "{flaws}");
    let lost = frames - torn["frames"].as_u64().unwrap();
    // A record that the kill tore was no frame before either.
    assert!(lost <= 1, "{lost} frames lost for five bytes");
    sites.process.close_stdin();
    assert_eq!(sites.process.code(), 0);
}

#[test]
fn a_difference_fails_a_build_only_if_it_is_more_than_noise() {
    let test = "diff";
    let Some(scene) = Scene::set(test) else { return };
    let (before, after) = (scene.file("before.htl"), scene.file("after.htl"));
    let flags = format!("-rate {RATE_BYTES} -windows 3 -window-bytes 60000000 -gc");
    scene.record(&before, &flags);
    scene.record(&after, &format!("{flags} -leak"));
    let (before, after) = (text(&before), text(&after));
    let nowhere = scene.file("nowhere.htl");
    let cases: [(&[&str], i32, &str); 9] = [
        (&[before, after], 0, "main.siteLeak"),
        (
            &[before, after, "--fail-if", "live:main.siteLeak > +10MiB"],
            2,
            "MET",
        ),
        (&[before, after, "--fail-if", "live > +10%"], 2, "MET"),
        (&[before, before, "--fail-if", "live > +1%"], 0, "not met"),
        // Both allocate the same, to the noise.
        (
            &[
                before,
                after,
                "--metric",
                "allocated",
                "--fail-if",
                "allocated > +30%",
            ],
            0,
            "not met",
        ),
        (&[before, after, "--fail-if", "pause_p99 > 10s"], 0, "not met"),
        (&[before, after, "--fail-if", "live > 10%"], 1, ""),
        (&[before, text(&nowhere)], 1, ""),
        (&[before], 1, ""),
    ];
    for (arguments, code, out) in cases {
        let arguments: Vec<&str> = ["diff"].iter().chain(arguments).copied().collect();
        let finished = scene.run(&arguments);
        assert_eq!(
            finished.code, code,
            "{arguments:?}: {}{}",
            finished.out, finished.err
        );
        assert!(finished.out.contains(out), "{arguments:?}: {}", finished.out);
    }
    let json = finish(
        &scene.binary,
        ["diff", "--json", before, after, "--fail-if", "live > +10%"],
    );
    let diff: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, &diff["failed"]), (2, &Value::Bool(true)));
    let moved: Vec<&str> = diff["sites"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|site| site["moved"] == true)
        .map(|site| site["function"].as_str().unwrap())
        .collect();
    assert_eq!(moved.first(), Some(&"main.siteLeak"), "{diff}");
}

#[test]
fn a_recording_of_a_running_program_ends_in_time_and_leaves_it_running() {
    let test = "recording (attached)";
    let Some(scene) = Scene::set(test) else { return };
    let file = scene.file("b.htl");
    let mut sites = Sites::start(&scene.program, "-windows 1 -window-bytes 1000000");
    sites.go();
    let _ = sites.end();
    let pid = sites.pid.to_string();
    let arguments = ["record", "-o", text(&file), "--for", "0.5", "--json", &pid];
    let finished = scene.run(&arguments);
    assert_eq!(finished.code, 0, "{}", finished.err);
    let line: Value = serde_json::from_str(&finished.out).unwrap();
    assert_eq!(
        (&line["ended"]["how"], &line["pid"]),
        (&"detached".into(), &sites.pid.into())
    );
    assert_eq!(
        line["bytes"].as_u64(),
        std::fs::metadata(&file).ok().map(|meta| meta.len())
    );
    let report = scene.json(&["report", text(&file), "--json"]);
    assert_eq!(report["frames"], line["frames"]);
    assert_eq!(report["session"], line["session"]);

    let again = scene.run(&arguments);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("--force"), "{}", again.err);
    let forced = scene.run(&["record", "--force", "-q", "-o", text(&file), "--for", "0.3", &pid]);
    assert_eq!((forced.code, forced.err.as_str()), (0, ""));
    // There is always room for what opens and closes a session.
    let small = scene.file("small.htl");
    let limited = scene.run(&["record", "-o", text(&small), "--max-bytes", "1000", &pid]);
    assert_eq!(limited.code, 0, "{}", limited.err);
    assert!(limited.err.contains("reached its limit"), "{}", limited.err);
    let nowhere = scene.file("no/such/folder.htl");
    let failed = scene.run(&["record", "-o", text(&nowhere), &pid]);
    assert_eq!(failed.code, 1);
    assert!(failed.err.contains("no/such/folder.htl"), "{}", failed.err);

    // A signal ends it as cleanly.
    let signalled = scene.file("signalled.htl");
    let mut command = Command::new(&scene.binary);
    command.args(["record", "-o", text(&signalled), &pid]);
    let mut recorder = Process::start(&mut command);
    let _ = recorder.says("watching process");
    recorder.signal(Signal::INT);
    assert_eq!(recorder.code(), 0);
    let report = scene.json(&["report", text(&signalled), "--json"]);
    assert_eq!(report["flaws"], Value::Array(Vec::new()));
    assert_eq!(sites.rate(), sites.first_rate());
    assert_eq!(sites.finish().code, 0);
}

#[test]
fn what_a_hub_keeps_is_read_like_a_recording() {
    let test = "recording (hub)";
    let Some(scene) = Scene::set(test) else { return };
    let hub = Hub::start(&scene.binary);
    let flags = format!("-rate {RATE_BYTES} -windows 2 -window-bytes 30000000");
    let mut sites = Sites::started(hub.run("", &scene.program, &flags));
    let session = heaptide::session_of(&sites.process);
    let console = hub.console();
    console.until_sampling(session, RATE_BYTES);
    sites.go();
    let _ = sites.end();
    assert_eq!(sites.finish().code, 0);
    console.until_ended(session);
    let headline = console.headline(session);
    let folder = hub.data.join("sessions").join(session.to_string());
    let report = scene.json(&["report", text(&folder), "--json"]);
    assert_eq!(report["session"], session.to_string());
    assert_eq!(report["headline"]["samples"], headline.samples);
    // Reading JSON can change the last bit.
    let (told, shown) = (
        number(&report["headline"]["live_bytes"]["value"]),
        headline.live.value,
    );
    assert!((told - shown).abs() <= shown.abs() * 1e-12, "{told} and {shown}");
}
