//! `heaptide collect`: watches every program of this host that is asked for, as they come and go.
//!
//! Each is watched by an `attach` of its own, so that one that goes wrong takes no other with it. What is decided
//! here is in [`plan`]; this file looks around, starts, and waits.

mod plan;

use crate::args::CollectOptions;
use crate::hub::state_dir;
use crate::sentences;
use crate::watch::confinement;
use anyhow::Context as _;
use heaptide_collector::linux::bpf;
use heaptide_collector::linux::confine::{self, Calls};
use plan::{Plan, Seen};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// How long a program may have run before it is noticed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For those that watch to send what they have.
const FAREWELL: Duration = Duration::from_secs(10);

pub(crate) fn run(options: &CollectOptions) -> anyhow::Result<ExitCode> {
    give_up_rights(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(collect(options))
}

/// What no watch needs. Each gives up more of it when it has begun.
fn give_up_rights(options: &CollectOptions) -> anyhow::Result<()> {
    if bpf::tracefs_path().is_none() {
        // Nobody can mount it later. A watch tells what it can't see without.
        let _ = bpf::mount_tracefs();
    }
    let spool_root = options.spool.clone().map_or_else(|| state_dir("spool"), Ok)?;
    let confinement = confinement(&spool_root, None)?;
    confine::keep_with_children(confinement.of_collector())?;
    let calls = Calls {
        starts: true,
        signals: true,
        writes: options.policy.allow_rate_write || options.policy.allow_leak_check,
        serves: false,
    };
    if let Err(error) = calls.refuse_others() {
        sentences::warning(&format!("can't refuse system calls that no watch needs: {error}"));
    }
    Ok(())
}

async fn collect(options: &CollectOptions) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let executable = std::env::current_exe().context("can't find the own executable")?;
    let mut plan = Plan::new(&options.matches, options.all, options.max);
    let mut watching: BTreeMap<u32, Child> = BTreeMap::new();
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
        reap(&mut watching, &mut plan);
        let news = plan.look(&running(), std::process::id(), Instant::now());
        for seen in news.start {
            let mut command = Command::new(&executable);
            command
                .args(attach_arguments(options, &seen))
                .stdin(Stdio::null());
            if let Some(token) = &options.access.token {
                // Not an argument, which everyone on the host could read.
                command.env("HEAPTIDE_TOKEN", token);
            }
            match command.spawn() {
                Ok(child) => {
                    sentences::note(&format!("watching {} (process {})", seen.name, seen.pid));
                    watching.insert(seen.pid, child);
                }
                Err(error) => {
                    sentences::warning(&format!("can't start a watch of process {}: {error}", seen.pid));
                }
            }
        }
        if news.left_out > 0 {
            sentences::warning(&format!(
                "{} more programs match, but {} are watched at most: raise --max or match fewer",
                news.left_out, options.max
            ));
        }
    }
    end(watching).await;
    Ok(ExitCode::SUCCESS)
}

/// Takes note of the watches that have ended.
fn reap(watching: &mut BTreeMap<u32, Child>, plan: &mut Plan) {
    watching.retain(|pid, child| match child.try_wait() {
        Ok(None) => true,
        Ok(Some(status)) => {
            plan.ended(*pid, status.success(), Instant::now());
            false
        }
        Err(_) => {
            plan.ended(*pid, false, Instant::now());
            false
        }
    });
}

/// Asks all to detach, which leaves the programs running, and waits for what they still have to send.
async fn end(mut watching: BTreeMap<u32, Child>) {
    for child in watching.values() {
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended this moment.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
    }
    let all = async {
        for child in watching.values_mut() {
            let _ = child.wait().await;
        }
    };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        sentences::warning(
            "some watches did not end in time: what they had is sent by the next heaptide here",
        );
    }
}

fn attach_arguments(options: &CollectOptions, seen: &Seen) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["attach", "--quiet", "--hub"].map(OsString::from).into();
    arguments.push(options.hub.clone().into());
    if let Some(spool) = &options.spool {
        arguments.push("--spool".into());
        arguments.push(spool.into());
    }
    arguments.extend(options.access.arguments());
    for (key, value) in &options.labels.labels {
        arguments.push("--label".into());
        arguments.push(format!("{key}={value}").into());
    }
    arguments.extend(options.policy.arguments());
    arguments.push(seen.pid.to_string().into());
    arguments
}

/// Processes of this host that have an executable that we may see.
fn running() -> Vec<Seen> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let executable = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some(Seen {
                pid,
                // Field 22 of proc_pid_stat(5), the 20th behind the command's parenthesis.
                start_ticks: stat
                    .rsplit_once(')')?
                    .1
                    .split_ascii_whitespace()
                    .nth(19)?
                    .parse()
                    .ok()?,
                name: name_of(&executable),
            })
        })
        .collect()
}

/// A replaced executable is still the same program.
fn name_of(executable: &Path) -> String {
    let name = executable.file_name().unwrap_or_default().to_string_lossy();
    name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
}
