//! `heaptide record`: a watch without a hub, into one file.

use crate::args::RecordOptions;
use crate::sentences;
use crate::watch::{config, exit_code, follow, tell};
use heaptide_collector::linux::confine::Confinement;
use heaptide_collector::watch::{Destination, Outcome, TargetChoice, WatchEvent};
use heaptide_protocol::section::EndReason;
use heaptide_recording::bytes_text;
use serde_json::{Value, json};
use std::process::ExitCode;
use std::time::Instant;

pub(crate) fn run(options: &RecordOptions) -> anyhow::Result<ExitCode> {
    let target = match options.pid {
        Some(pid) => TargetChoice::Attach { pid },
        None => TargetChoice::Run {
            command: options.command.clone(),
        },
    };
    let is_ours = options.pid.is_none();
    let destination = Destination::File {
        path: options.output.clone(),
        replace: options.force,
        max_bytes: options.max_bytes,
    };
    // The file is open before anything is given up.
    let confinement = Confinement::default();
    let config = config(&options.policy, &options.labels, target, destination, confinement)?;
    let mut began = Instant::now();
    let mut pid = 0;
    // A program that we started owns the terminal: a line that moves would run into its own.
    let shows_progress = !is_ours && !options.quiet;
    let outcome = follow(config, is_ours, options.length, &mut |event| {
        match &event {
            WatchEvent::Watching { signature, .. } => {
                (began, pid) = (Instant::now(), signature.pid);
            }
            WatchEvent::Second {
                pulse,
                recorded: Some(recorded),
            } if shows_progress => sentences::progress(&format!(
                "{:.0} s, {} written, live {} ± {}, {} samples/s; Ctrl-C ends it",
                began.elapsed().as_secs_f64(),
                bytes_text(recorded.bytes as f64),
                bytes_text(pulse.live_bytes),
                bytes_text(pulse.live_std_error_bytes),
                pulse.samples_per_s.round()
            )),
            _ => {}
        }
        if !options.quiet {
            tell(&event, None);
        }
    })?;
    let recorded = outcome.recorded.unwrap_or_default();
    let seconds = began.elapsed().as_secs_f64();
    if !options.quiet {
        sentences::note(&format!(
            "{}: {} frames, {}, {seconds:.1} s; `heaptide report {0}` tells what is in it",
            options.output.display(),
            recorded.frames,
            bytes_text(recorded.bytes as f64),
        ));
    }
    if options.json {
        let line = json!({
            "file": options.output,
            "session": outcome.session.to_string(),
            "pid": pid,
            "frames": recorded.frames,
            "bytes": recorded.bytes,
            "seconds": seconds,
            "ended": ended(&outcome),
        });
        sentences::text(&format!("{line}\n"))?;
    }
    Ok(if is_ours {
        exit_code(&outcome.reason)
    } else {
        ExitCode::SUCCESS
    })
}

fn ended(outcome: &Outcome) -> Value {
    match outcome.reason {
        EndReason::Exited { code } => json!({ "how": "exited", "code": code }),
        EndReason::Signalled { signal } => json!({ "how": "signalled", "signal": signal }),
        EndReason::Gone => json!({ "how": "gone" }),
        EndReason::Detached => json!({ "how": "detached" }),
    }
}
