//! A policy's way from a console to a collector and back, and what happens when two people edit at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{Client, is_away, open, session, start};
use heaptide_policy::{Policy, RejectReason};
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{Ack, PolicyOutcome, PolicyPropose, PolicyResult, PolicySet, PolicyState};

fn at(revision: u64, rate_bytes: u64) -> Policy {
    Policy {
        revision,
        sampling_rate_bytes: Some(rate_bytes),
        ..Policy::default()
    }
}

async fn propose(console: &mut Client, policy: Policy) -> PolicyState {
    console
        .control(FrameKind::PolicyPropose, session(1), &PolicyPropose { policy })
        .await;
    console.expect(FrameKind::PolicyState).await
}

fn applied(policy: Policy) -> PolicyOutcome {
    PolicyOutcome {
        timestamp_ns: 5,
        revision: policy.revision,
        result: PolicyResult::Applied {
            policy,
            rate_before_bytes: 524_288,
            rate_after_bytes: 65_536,
        },
    }
}

fn revision(policy: Option<&Policy>) -> Option<u64> {
    policy.map(|policy| policy.revision)
}

#[tokio::test]
async fn a_proposal_reaches_the_collector_and_its_answer_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut anna = hub.console().await;
    let mut berta = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;

    let state = propose(&mut anna, at(0, 65_536)).await;
    assert_eq!(
        (revision(state.pending.as_ref()), &state.refused),
        (Some(1), &None)
    );
    let set: PolicySet = collector.expect(FrameKind::PolicySet).await;
    assert_eq!(set.policy, at(1, 65_536));
    berta
        .listed(id, |summary| revision(summary.policy.pending.as_ref()) == Some(1))
        .await;

    collector
        .control(FrameKind::PolicyOutcome, id, &applied(set.policy.clone()))
        .await;
    for console in [&mut anna, &mut berta] {
        let listed = console
            .listed(id, |summary| summary.policy.last_outcome.is_some())
            .await;
        assert_eq!(listed.policy.applied, Some(at(1, 65_536)));
        assert_eq!(listed.policy.pending, None);
    }

    let state = propose(&mut berta, at(1, 1 << 20)).await;
    assert_eq!(revision(state.pending.as_ref()), Some(2));
    let set: PolicySet = collector.expect(FrameKind::PolicySet).await;
    let rejected = PolicyOutcome {
        timestamp_ns: 6,
        revision: set.policy.revision,
        result: PolicyResult::Rejected {
            reason: RejectReason::WriteNotGranted,
        },
    };
    collector.control(FrameKind::PolicyOutcome, id, &rejected).await;
    let listed = anna
        .listed(id, |summary| {
            summary.policy.last_outcome.as_ref() == Some(&rejected)
        })
        .await;
    assert_eq!(listed.policy.applied, Some(at(1, 65_536)));
    drop((anna, berta, collector));
    hub.stop().await;
}

#[tokio::test]
async fn two_people_at_once_never_overwrite_each_other_unseen() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let id = session(1);
    let mut anna = hub.console().await;
    let mut berta = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let state = propose(&mut anna, at(0, 65_536)).await;
    assert_eq!(state.refused, None);
    // Berta still looks at revision 0.
    let state = propose(&mut berta, at(0, 4096)).await;
    let refused = state.refused.unwrap();
    assert!(
        refused.contains("revision 0") && refused.contains("revision 1"),
        "{refused}"
    );
    assert_eq!(state.pending, Some(at(1, 65_536)));
    // She sees Anna's and decides again.
    let state = propose(&mut berta, at(1, 4096)).await;
    assert_eq!((state.pending, state.refused), (Some(at(2, 4096)), None));
    // A policy outside its bounds never reaches the collector.
    let state = propose(&mut anna, at(2, 1)).await;
    assert!(state.refused.unwrap().contains("sampling rate of 1 bytes"));
    let mut seen = Vec::new();
    while seen.last() != Some(&2) {
        let set: PolicySet = collector.expect(FrameKind::PolicySet).await;
        seen.push(set.policy.revision);
    }
    assert!(seen == [1, 2] || seen == [2], "{seen:?}");
    drop((anna, berta, collector));
    hub.stop().await;
}

#[tokio::test]
async fn a_pending_policy_outlives_the_hub_and_finds_an_away_collector() {
    let folder = tempfile::tempdir().unwrap();
    let id = session(1);
    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    drop(collector);
    console.listed(id, is_away).await;
    let state = propose(&mut console, at(0, 65_536)).await;
    assert_eq!(state.pending, Some(at(1, 65_536)));
    drop(console);
    hub.stop().await;

    let hub = start(folder.path()).await;
    let mut console = hub.console().await;
    console
        .listed(id, |summary| summary.policy.pending == Some(at(1, 65_536)))
        .await;
    let mut collector = hub.collector().await;
    collector.open(id, 1).await;
    let set: PolicySet = collector.expect(FrameKind::PolicySet).await;
    assert_eq!(set.policy, at(1, 65_536));
    drop(collector);
    // A collector that took it while the hub could not hear says so when it opens.
    let mut collector = hub.collector().await;
    let mut hello = open(1);
    hello.policy = at(1, 65_536);
    collector.control(FrameKind::Open, id, &hello).await;
    let _: Ack = collector.expect(FrameKind::Ack).await;
    let listed = console
        .listed(id, |summary| summary.policy.pending.is_none())
        .await;
    assert_eq!(listed.policy.applied, Some(at(1, 65_536)));
    drop((console, collector));
    hub.stop().await;
}
