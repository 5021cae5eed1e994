//! A real uplink whose clock steps and whose machine is suspended in mid-session, and what the real hub knows then.

use super::hub::{Console, HubProcess};
use super::*;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SECOND_NS: u64 = 1_000_000_000;

static STEPPED_NS: AtomicU64 = AtomicU64::new(0);
static SUSPENDED_NS: AtomicU64 = AtomicU64::new(0);

fn stepping_ns() -> u64 {
    clock::session_ns() + STEPPED_NS.load(Relaxed)
}

fn suspended_ns() -> u64 {
    SUSPENDED_NS.load(Relaxed)
}

/// What the hub tells of the only session's clock, once there is one.
async fn told(address: SocketAddr) -> Value {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/v1/sessions HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let mut sessions: Value = serde_json::from_str(body).unwrap();
    sessions
        .get_mut(0)
        .map_or(Value::Null, |session| session["clock"].take())
}

async fn epoch(address: SocketAddr, epoch: u64) -> Value {
    soon("an epoch", async {
        loop {
            let clock = told(address).await;
            if clock["newest"]["epoch"] == epoch {
                return clock;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}

#[tokio::test]
async fn each_step_and_each_suspend_is_an_epoch_at_the_hub_and_no_frame_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let hub = HubProcess::start(dir.path()).await;
    let mut config = hub.config();
    config.timing.ping_every = Duration::from_millis(20);
    config.session_clock = stepping_ns;
    config.suspended = suspended_ns;
    let spool = Spool::create(root.path(), head(1), MANY_BYTES).unwrap();
    let spool = Arc::new(Mutex::new(spool));
    let (handle, _events) = Uplink::start(config, Arc::clone(&spool));
    let mut seq = 0;
    let mut append = |frames: u64| {
        for _ in 0..frames {
            seq += 1;
            spool.lock().unwrap().append(seq, &data(1, seq)).unwrap();
        }
        handle.notify();
    };
    append(20);
    let first = epoch(hub.address, 0).await;
    STEPPED_NS.store(100 * SECOND_NS, Relaxed);
    append(20);
    let second = epoch(hub.address, 1).await;
    SUSPENDED_NS.store(7 * SECOND_NS, Relaxed);
    append(20);
    let third = epoch(hub.address, 2).await;
    let offset = |clock: &Value| clock["newest"]["offset_ns"].as_i64().unwrap();
    let error = |clock: &Value| clock["newest"]["error_ns"].as_u64().unwrap();
    let moved = offset(&first).abs_diff(offset(&second));
    assert!(
        moved.abs_diff(100 * SECOND_NS) <= error(&first) + error(&second) + SECOND_NS,
        "{first}, then {second}"
    );
    assert_eq!(third["newest"]["suspended_ns"], 7 * SECOND_NS);
    // A ping that was under way when the clock stepped says what can't be, which the hub refuses.
    let refused = third["refused"].as_u64().unwrap();
    assert!(refused <= 1, "{third}");
    assert_eq!(soon("finishing", handle.finish(PATIENCE)).await, Outcome::Ended);
    let stored = Console::stored(hub.address, session(1)).await;
    let expected: Vec<(u64, Vec<u8>)> = (1..=60).map(|seq| (seq, data(1, seq))).collect();
    assert_eq!(stored, expected);
}
