//! `heaptide run` and `heaptide attach`, and what `heaptide record` has in common with them.

use crate::args::{AttachOptions, LabelOptions, PolicyOptions, RunOptions, WatchOptions};
use crate::hub::{OwnHub, data_dir, state_dir};
use crate::{assets, sentences};
use heaptide_collector::linux::confine::{Confinement, needs_override};
use heaptide_collector::uplink::TlsTrust;
use heaptide_collector::watch::{
    Destination, Outcome, StopRequest, TargetChoice, WatchConfig, WatchEvent, watch,
};
use heaptide_policy::{ExactRequest, Labels, Policy, Sources, Tiers};
use heaptide_protocol::exact::ExactEnd;
use heaptide_protocol::section::EndReason;
use heaptide_protocol::session::CapabilityState;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// As shells tell a death by signal.
const SIGNAL_BASE: i32 = 128;
const SIGTERM: i32 = 15;

pub(crate) fn run(options: &RunOptions) -> anyhow::Result<ExitCode> {
    let target = TargetChoice::Run {
        command: options.command.clone(),
    };
    let outcome = start(&options.watch, target, true)?;
    Ok(exit_code(&outcome.reason))
}

/// That of a program that we started, as a shell tells it.
pub(crate) fn exit_code(reason: &EndReason) -> ExitCode {
    match reason {
        EndReason::Exited { code } => ExitCode::from(*code as u8),
        EndReason::Signalled { signal } => ExitCode::from((SIGNAL_BASE + signal) as u8),
        EndReason::Gone | EndReason::Detached => ExitCode::SUCCESS,
    }
}

pub(crate) fn attach(options: &AttachOptions) -> anyhow::Result<ExitCode> {
    start(&options.watch, TargetChoice::Attach { pid: options.pid }, false)?;
    Ok(ExitCode::SUCCESS)
}

fn start(options: &WatchOptions, target: TargetChoice, is_ours: bool) -> anyhow::Result<Outcome> {
    let spool_root = options.spool.clone().map_or_else(|| state_dir("spool"), Ok)?;
    let data = match &options.hub {
        Some(_) => None,
        None => Some(data_dir(options.data.clone())?),
    };
    let confinement = confinement(&spool_root, data.as_deref())?;
    let own_hub = data
        .map(|data| OwnHub::start(options.listen, data, confinement))
        .transpose()?;
    let hub_url = match (&options.hub, &own_hub) {
        (Some(url), _) => url.clone(),
        (None, Some(hub)) => format!("ws://{}", hub.address),
        (None, None) => anyhow::bail!("no hub"),
    };
    let destination = Destination::Hub {
        url: hub_url.clone(),
        token: match &own_hub {
            Some(hub) => Some(hub.token.clone()),
            None => options.access.token.clone(),
        },
        trust: match &own_hub {
            // Those of the environment are for another hub.
            Some(_) => TlsTrust::default(),
            None => options.access.trust(),
        },
        spool_root,
    };
    let config = config(&options.policy, &options.labels, target, destination, confinement)?;
    let console = hub_url.replacen("ws", "http", 1);
    let quiet = options.quiet;
    let outcome = follow(config, is_ours, None, &mut |event| {
        if !quiet {
            tell(&event, Some(&console));
        }
    })?;
    if !outcome.delivered {
        sentences::warning(
            "the hub does not have everything yet: the rest is sent by the next heaptide here",
        );
    }
    Ok(outcome)
}

/// What has to be kept for the folders that are written to and for a hub in this process.
pub(crate) fn confinement(spool_root: &Path, data: Option<&Path>) -> anyhow::Result<Confinement> {
    let mut confinement = Confinement {
        serves_hub: data.is_some(),
        ..Confinement::default()
    };
    for folder in [Some(spool_root), data].into_iter().flatten() {
        if needs_override(folder)? {
            confinement.writes_to_others_folders = true;
            sentences::warning(&format!(
                "{} is in another user's folder: cap_dac_override is kept to write there",
                folder.display()
            ));
        }
    }
    Ok(confinement)
}

pub(crate) fn config(
    options: &PolicyOptions,
    labels: &LabelOptions,
    target: TargetChoice,
    destination: Destination,
    confinement: Confinement,
) -> anyhow::Result<WatchConfig> {
    let policy = policy(options);
    policy.validate()?;
    let bpf_object = if options.no_bpf {
        None
    } else {
        Some(assets::bpf_object().ok_or_else(|| anyhow::anyhow!(assets::NO_BPF_OBJECT))?)
    };
    let mut given = Labels::default();
    for (key, value) in &labels.labels {
        given.insert(key, value)?;
    }
    Ok(WatchConfig {
        target,
        destination,
        labels: given,
        policy,
        allow_rate_write: options.allow_rate_write,
        allow_leak_check: options.allow_leak_check,
        bpf_object,
        own_executable: std::env::current_exe()?,
        confinement: Some(confinement),
    })
}

/// Watches until the end, a signal, or until `length` is over.
pub(crate) fn follow(
    config: WatchConfig,
    is_ours: bool,
    length: Option<Duration>,
    tell: &mut dyn FnMut(WatchEvent),
) -> anyhow::Result<Outcome> {
    // One thread: a started program is traced by the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (ask, asked) = mpsc::channel(4);
        if let Some(length) = length {
            let ask = ask.clone();
            // Runs first when the watch waits for the first time, so the attaching does not count.
            tokio::spawn(async move {
                tokio::time::sleep(length).await;
                // Fails only if the watch has ended already.
                let _ = ask.send(StopRequest::Detach).await;
            });
        }
        let signals = tokio::spawn(stop_on_signals(ask, is_ours)?);
        let outcome = watch(config, asked, tell).await;
        signals.abort();
        Ok(outcome?)
    })
}

fn policy(options: &PolicyOptions) -> Policy {
    let tiers = if options.all_events {
        Tiers {
            always_from_bytes: 0,
            hashed_from_bytes: 0,
            hashed_percent: 100,
        }
    } else {
        Tiers::default()
    };
    Policy {
        sampling_rate_bytes: options.sampling_rate,
        allow_rate_write: options.allow_rate_write,
        addresses: options.addresses,
        tick_ms: options.tick_ms,
        tiers,
        exact: options.exact.map(|seconds| ExactRequest {
            number: 1,
            seconds,
            max_cost_permille: options.exact_cost,
        }),
        sources: Sources {
            bucket_heap: options.buckets,
            goroutine_events: options.goroutine_events,
            ..Sources::default()
        },
        ..Policy::default()
    }
}

/// A program that we started gets the terminal's Ctrl-C itself, and we wait for it to end; a second one
/// leaves it alone. SIGTERM is passed on.
fn stop_on_signals(
    ask: mpsc::Sender<StopRequest>,
    is_ours: bool,
) -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        let mut interrupts = 0;
        loop {
            let request = tokio::select! {
                _ = interrupt.recv() => {
                    interrupts += 1;
                    (!is_ours || interrupts > 1).then_some(StopRequest::Detach)
                }
                _ = terminate.recv() => {
                    Some(if is_ours { StopRequest::Signal(SIGTERM) } else { StopRequest::Detach })
                }
            };
            match request {
                Some(request) if ask.send(request).await.is_err() => return,
                Some(_) => {}
                None => sentences::note("waiting for the program to end; Ctrl-C again leaves it running"),
            }
        }
    })
}

/// A sentence for what happened, if it is worth one.
pub(crate) fn tell(event: &WatchEvent, console: Option<&str>) {
    match event {
        WatchEvent::Watching {
            session,
            signature,
            capabilities,
        } => {
            sentences::note(&format!(
                "watching process {} ({}, {})",
                signature.pid, signature.executable, signature.runtime_version
            ));
            for capability in capabilities {
                let source = &capability.source;
                match &capability.state {
                    CapabilityState::Active | CapabilityState::Limited { .. } => {}
                    CapabilityState::Off { why } => sentences::warning(&format!("{source}: off: {why}")),
                    CapabilityState::Unavailable { why, remedy } => {
                        sentences::warning(&format!("{source}: {why}; try `{remedy}`"));
                    }
                }
            }
            if let Some(console) = console {
                sentences::note(&format!("console: {console}/s/{session}"));
            }
        }
        WatchEvent::HubConnected => sentences::note("connected to the hub"),
        WatchEvent::HubLost { why } => {
            sentences::warning(&format!("no connection to the hub ({why}); frames wait on disk"));
        }
        WatchEvent::PolicyApplied { revision, rate_bytes } => {
            sentences::note(&format!(
                "policy {revision} applied: one sample every {rate_bytes} bytes"
            ));
        }
        WatchEvent::PolicyRejected { revision, reason } => {
            sentences::warning(&format!("policy {revision} rejected: {reason}"));
        }
        WatchEvent::ExactWindow {
            objects,
            bytes,
            length_ns,
            ended_by,
            ..
        } => {
            let why = match ended_by {
                ExactEnd::Time => "",
                ExactEnd::Cost => ", cut short by its cost",
                ExactEnd::Stopped => ", cut short",
            };
            sentences::note(&format!(
                "exact window of {:.1} s{why}: {objects} objects, {bytes} bytes",
                *length_ns as f64 / 1e9
            ));
        }
        WatchEvent::Warning { message } => sentences::warning(message),
        WatchEvent::Ended { reason } => sentences::note(&match reason {
            EndReason::Exited { code } => format!("the program exited with code {code}"),
            EndReason::Signalled { signal } => format!("the program was ended by signal {signal}"),
            EndReason::Gone => "the program is gone".to_owned(),
            EndReason::Detached => "detached; the program goes on".to_owned(),
        }),
        _ => {}
    }
}
