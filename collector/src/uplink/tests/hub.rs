//! The real hub, in a process that can be killed, and a console that looks into it.

use super::*;
use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_hub::{Hub, HubConfig};
use heaptide_protocol::FrameKind;
use heaptide_protocol::control::{Hello, Role, SessionSummary, Sessions, Subscribe};
use heaptide_protocol::frame::encode_control;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A hub in a process of its own.
pub(crate) struct HubProcess {
    dir: PathBuf,
    child: Child,
    pub(crate) address: SocketAddr,
}

impl HubProcess {
    pub(crate) async fn start(dir: &Path) -> Self {
        let _ = std::fs::remove_file(dir.join("ready"));
        let child = spawn_part("hub::hub_part", dir);
        let address = soon("the hub's start", async {
            loop {
                if let Some(address) = std::fs::read_to_string(dir.join("ready"))
                    .ok()
                    .and_then(|text| text.parse().ok())
                {
                    return address;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        Self {
            dir: dir.to_owned(),
            child,
            address: address.await,
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        *self = Self::start(&self.dir.clone()).await;
    }

    /// As a machine does that is out of memory, or asleep.
    #[cfg(target_os = "linux")]
    pub(crate) fn stand_still(&self, still: bool) {
        use rustix::process::{Pid, Signal, kill_process};
        let signal = if still { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.unwrap().trim().trim_end_matches(" kB");
        digits.parse::<u64>().unwrap() << 10
    }

    pub(crate) fn config(&self) -> UplinkConfig {
        let mut config = UplinkConfig::new(&format!("ws://{}", self.address), None).unwrap();
        config.timing.retry_first = Duration::from_millis(10);
        config.timing.retry_max = Duration::from_millis(300);
        config
    }
}

impl Drop for HubProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A part: the hub, on the port that it had before, until it is killed.
#[tokio::test]
#[ignore = "a part that other tests start"]
async fn hub_part() {
    let Some(dir) = part_dir() else { return };
    let port = std::fs::read_to_string(dir.join("port")).map_or(0, |text| text.parse().unwrap());
    let config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], port)), dir.join("data"));
    let hub = Hub::bind(config).await.unwrap();
    std::fs::write(dir.join("port"), hub.address().port().to_string()).unwrap();
    std::fs::write(dir.join("ready.new"), hub.address().to_string()).unwrap();
    std::fs::rename(dir.join("ready.new"), dir.join("ready")).unwrap();
    hub.run(std::future::pending()).await;
}

/// What a browser would see.
pub(crate) struct Console {
    socket: WebSocketStream<TcpStream>,
}

impl Console {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut request = format!("ws://{address}/ws/console")
            .into_client_request()
            .unwrap();
        request
            .headers_mut()
            .insert("origin", format!("http://{address}").parse().unwrap());
        let (socket, _) = client_async(request, stream).await.unwrap();
        let mut console = Self { socket };
        let hello = Hello {
            role: Role::Console,
            agent: "test".to_owned(),
            token: None,
        };
        console.send(FrameKind::Hello, SessionId::default(), &hello).await;
        console
    }

    pub(crate) async fn send<T: serde::Serialize>(
        &mut self,
        kind: FrameKind,
        session: SessionId,
        payload: &T,
    ) {
        let frame = encode_control(kind, session, payload).unwrap();
        self.socket.send(Message::Binary(frame.into())).await.unwrap();
    }

    pub(crate) async fn next(&mut self) -> Vec<u8> {
        soon("a frame for the console", async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => return bytes.to_vec(),
                    Some(Ok(_)) => {}
                    other => panic!("console: {other:?}"),
                }
            }
        })
        .await
    }

    /// All durable frames of a session.
    pub(crate) async fn stored(address: SocketAddr, session: SessionId) -> Vec<(u64, Vec<u8>)> {
        let mut console = Self::connect(address).await;
        console
            .send(FrameKind::Subscribe, session, &Subscribe { after_seq: 0 })
            .await;
        let mut frames = Vec::new();
        loop {
            let bytes = console.next().await;
            match Frame::parse(&bytes).unwrap().envelope.kind {
                FrameKind::Data => frames.push((seq_of(&bytes), bytes)),
                FrameKind::CaughtUp => return frames,
                FrameKind::Missed | FrameKind::Notice => panic!("frames are missing"),
                _ => {}
            }
        }
    }

    /// Waits until the hub lists the session so.
    pub(crate) async fn until(
        &mut self,
        session: SessionId,
        wanted: impl Fn(&SessionSummary) -> bool,
    ) -> SessionSummary {
        loop {
            let bytes = self.next().await;
            let frame = Frame::parse(&bytes).unwrap();
            if frame.envelope.kind != FrameKind::Sessions {
                continue;
            }
            let list: Sessions = frame.control("sessions").unwrap();
            let found = list
                .sessions
                .into_iter()
                .find(|summary| summary.session == session);
            if let Some(summary) = found.filter(&wanted) {
                return summary;
            }
        }
    }
}
