//! A collector that obeys: takes policies, answers, and sends pulses at the cost that a test gives it.

use crate::common::{Client, open};
use heaptide_policy::{Labels, Policy, RejectReason};
use heaptide_protocol::control::{Ack, PolicyOutcome, PolicyResult, PolicySet, Pulse, Role};
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

use crate::common::Seen;

const PULSE_EVERY: Duration = Duration::from_millis(30);

pub struct Actor {
    pub id: SessionId,
    pub part: Arc<Part>,
    task: JoinHandle<()>,
}

/// What the test turns and looks at.
#[derive(Default)]
pub struct Part {
    pub cpu_permille: AtomicU32,
    pub available_percent: AtomicU64,
    pub live_bytes: AtomicU64,
    pub refuses: AtomicBool,
    pub policy: Mutex<Policy>,
}

impl Actor {
    /// Opens a session with what is in force there, as a collector does that was away.
    pub async fn start(address: SocketAddr, id: SessionId, labels: &[(&str, &str)], part: Arc<Part>) -> Self {
        let mut client = Client::connect(address, Role::Collector).await;
        let mut hello = open(1);
        hello.labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect::<Labels>();
        hello.policy = part.policy.lock().unwrap().clone();
        client.control(FrameKind::Open, id, &hello).await;
        let _: Ack = client.expect(FrameKind::Ack).await;
        let task = tokio::spawn(act(client, id, Arc::clone(&part)));
        Self { id, part, task }
    }

    pub fn percent(&self) -> u8 {
        self.part.policy.lock().unwrap().tiers.hashed_percent
    }

    /// The connection breaks.
    pub async fn stop(self) -> Arc<Part> {
        self.task.abort();
        let _ = self.task.await;
        self.part
    }
}

async fn act(mut client: Client, id: SessionId, part: Arc<Part>) {
    let mut tick = tokio::time::interval(PULSE_EVERY);
    let mut number = 0;
    loop {
        tokio::select! {
            seen = client.next() => {
                let Seen::Frame(envelope, _, bytes) = seen else { return };
                if envelope.kind == FrameKind::PolicySet {
                    let set: PolicySet = Frame::parse(&bytes).unwrap().control("test").unwrap();
                    let outcome = answer(&part, set.policy);
                    client.control(FrameKind::PolicyOutcome, id, &outcome).await;
                }
            }
            _ = tick.tick() => {
                number += 1;
                let pulse = encode(&part, number);
                if !client.try_send(heaptide_protocol::frame::encode_control(FrameKind::Pulse, id, &pulse).unwrap()).await {
                    return;
                }
            }
        }
    }
}

fn answer(part: &Part, policy: Policy) -> PolicyOutcome {
    let revision = policy.revision;
    let result = if part.refuses.load(Relaxed) {
        PolicyResult::Rejected {
            reason: RejectReason::WriteNotGranted,
        }
    } else {
        part.policy.lock().unwrap().clone_from(&policy);
        PolicyResult::Applied {
            policy,
            rate_before_bytes: 0,
            rate_after_bytes: 0,
        }
    };
    PolicyOutcome {
        timestamp_ns: 1,
        revision,
        result,
    }
}

fn encode(part: &Part, number: u64) -> Pulse {
    Pulse {
        timestamp_ns: number,
        rss_bytes: 1000,
        live_bytes: part.live_bytes.load(Relaxed) as f64,
        live_std_error_bytes: 3.0,
        allocated_bytes_per_s: 5.0,
        samples_per_s: 1.0,
        dropped: 0,
        seen: number * 100,
        sampling_rate_bytes: 524_288,
        collector_cpu_permille: part.cpu_permille.load(Relaxed),
        collector_rss_bytes: 1 << 20,
        sent_bytes_per_s: 100,
        host_available_bytes: part.available_percent.load(Relaxed),
        host_total_bytes: 100,
    }
}
