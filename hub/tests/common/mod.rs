//! A real hub on a free port, and clients that speak the protocol over real sockets.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file includes this and uses its own part"
)]

pub mod authority;
pub mod bearer;
#[cfg(target_os = "linux")]
pub mod disk;
#[cfg(target_os = "linux")]
pub mod process;
pub mod story;
pub mod ticks;

use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_hub::{Hub, HubConfig, Log};
use heaptide_policy::{Labels, Policy};
use heaptide_protocol::control::{
    Ack, Hello, Open, Refuse, RefuseCode, Role, SessionState, SessionSummary, Sessions, Subscribe, Welcome,
};
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};
use heaptide_protocol::{Envelope, Frame, FrameKind, SessionId};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// Only to turn a hang into a failure; nothing is measured against it.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Running {
    pub address: SocketAddr,
    pub data_dir: PathBuf,
    pub log: Arc<Mutex<Vec<String>>>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

pub async fn start(data_dir: &Path) -> Running {
    start_with(data_dir, |_| ()).await
}

pub async fn start_with(data_dir: &Path, change: impl FnOnce(&mut HubConfig)) -> Running {
    let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), data_dir);
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    config.log = Log::new(move |record| {
        lines
            .lock()
            .unwrap()
            .push(format!("{:?}: {record}", record.level));
    });
    // Tests send one frame at a time, and wait for it.
    config.limits.ack_every = std::time::Duration::ZERO;
    change(&mut config);
    let data_dir = config.data_dir.clone();
    let hub = Hub::bind(config).await.unwrap();
    let address = hub.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(hub.run(async {
        let _ = stopped.await;
    }));
    Running {
        address,
        data_dir,
        log,
        stop: Some(stop),
        task: Some(task),
    }
}

impl Running {
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        patient(self.task.take().unwrap()).await.unwrap();
    }

    pub async fn collector(&self) -> Client {
        Client::connect(self.address, Role::Collector).await
    }

    pub async fn console(&self) -> Client {
        Client::connect(self.address, Role::Console).await
    }

    pub fn session_dir(&self, session: SessionId) -> PathBuf {
        self.data_dir.join("sessions").join(session.to_string())
    }

    pub fn logged(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// Warnings and errors alone.
    pub fn complained(&self) -> String {
        let log = self.log.lock().unwrap();
        let lines: Vec<_> = log
            .iter()
            .filter(|line| !line.starts_with("Info"))
            .cloned()
            .collect();
        lines.join("\n")
    }

    pub async fn get(&self, path: &str) -> String {
        get(self.address, path, "").await
    }

    /// One request of the API: its status and its answer as JSON.
    pub async fn json(
        &self,
        method: &str,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> (u16, serde_json::Value) {
        let body = body.map(ToString::to_string).unwrap_or_default();
        let address = self.address;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: \
             application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = String::from_utf8(raw(address, &request).await).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            serde_json::from_str(body).unwrap_or(serde_json::Value::Null),
        )
    }

    pub async fn counter(&self, name: &str) -> u64 {
        counter(self.address, name).await
    }
}

pub async fn counter(address: SocketAddr, name: &str) -> u64 {
    let answer = get(address, "/api/v1/stats", "").await;
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    body["counters"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("no counter {name} in {body}"))
}

/// One HTTP request on its own connection; the whole answer as text.
pub async fn get(address: SocketAddr, path: &str, headers: &str) -> String {
    String::from_utf8_lossy(
        &raw(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n"),
        )
        .await,
    )
    .into_owned()
}

/// A request with a body; status and body of the answer. HTTP/1.0, so that the body comes in one piece.
pub async fn call(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let length = body.len();
    let mut request =
        format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Length: {length}\r\n{headers}\r\n")
            .into_bytes();
    request.extend_from_slice(body);
    let answer = raw_bytes(address, &request).await;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]);
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[end + 4..].to_vec())
}

/// The same with JSON both ways.
pub async fn call_json(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &serde_json::Value,
) -> (u16, serde_json::Value) {
    let headers = "Content-Type: application/json\r\n";
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let (status, answer) = call(address, method, path, headers, body.as_bytes()).await;
    let answer = serde_json::from_slice(&answer)
        .unwrap_or_else(|_| serde_json::Value::String(String::from_utf8_lossy(&answer).into_owned()));
    (status, answer)
}

pub async fn raw(address: SocketAddr, request: &str) -> Vec<u8> {
    raw_bytes(address, request.as_bytes()).await
}

pub async fn raw_bytes(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A hub that has read enough answers and closes.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = patient(stream.read_to_end(&mut answer)).await;
    answer
}

pub async fn patient<F: IntoFuture>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the hub said nothing for a minute")
}

#[derive(Debug)]
pub struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

/// A frame or the end, as a client saw it.
#[derive(Debug, Clone, PartialEq)]
pub enum Seen {
    Frame(Envelope, Vec<u8>, Vec<u8>),
    Closed(u16, String),
    Broken,
}

impl Client {
    /// Opens the WebSocket without saying Hello.
    pub async fn open_socket(address: SocketAddr, role: Role) -> Self {
        Self::try_open(address, role).await.unwrap()
    }

    /// The same; or the status of the answer.
    pub async fn try_open(address: SocketAddr, role: Role) -> Result<Self, u16> {
        let path = match role {
            Role::Collector => "collector",
            Role::Console => "console",
        };
        let mut request = format!("ws://{address}/ws/{path}").into_client_request().unwrap();
        if role == Role::Console {
            let origin = format!("http://{address}").parse().unwrap();
            request.headers_mut().insert("origin", origin);
        }
        Self::request(request).await
    }

    pub async fn request(request: Request) -> Result<Self, u16> {
        match patient(tokio_tungstenite::connect_async(request)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(Error::Http(answer)) => Err(answer.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// The first session list, behind the Welcome.
    pub async fn after_welcome(&mut self) -> Sessions {
        let _: Welcome = self.expect(FrameKind::Welcome).await;
        self.expect(FrameKind::Sessions).await
    }

    /// The socket at an address below the hub's, as a browser opens it; or the status that it got instead.
    pub async fn try_path(address: SocketAddr, path: &str) -> Result<Self, u16> {
        let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
        let origin = format!("http://{address}").parse().unwrap();
        request.headers_mut().insert("origin", origin);
        request
            .headers_mut()
            .insert("user-agent", "test browser".parse().unwrap());
        match patient(tokio_tungstenite::connect_async(request)).await {
            Ok((socket, _)) => Ok(Self { socket }),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// The bearer of a link, after the handshake.
    pub async fn bearer(address: SocketAddr, secret: &str) -> Self {
        let mut client = Self::try_path(address, &format!("/ws/link/{secret}"))
            .await
            .unwrap();
        let hello = hello(Role::Console);
        client
            .control(FrameKind::Hello, SessionId::default(), &hello)
            .await;
        let _: Welcome = client.expect(FrameKind::Welcome).await;
        client
    }

    pub async fn connect(address: SocketAddr, role: Role) -> Self {
        let mut client = Self::open_socket(address, role).await;
        client
            .control(FrameKind::Hello, SessionId::default(), &hello(role))
            .await;
        let _: Welcome = client.expect(FrameKind::Welcome).await;
        client
    }

    /// Says Hello with a token, and leaves the answer to be read.
    pub async fn present(address: SocketAddr, role: Role, token: Option<&str>) -> Self {
        let mut client = Self::open_socket(address, role).await;
        let hello = Hello {
            token: token.map(str::to_owned),
            ..hello(role)
        };
        client
            .control(FrameKind::Hello, SessionId::default(), &hello)
            .await;
        client
    }

    pub async fn connect_with(address: SocketAddr, role: Role, token: &str) -> Self {
        let mut client = Self::present(address, role, Some(token)).await;
        let _: Welcome = client.expect(FrameKind::Welcome).await;
        client
    }

    pub async fn send(&mut self, bytes: Vec<u8>) {
        patient(self.socket.send(Message::binary(bytes))).await.unwrap();
    }

    pub async fn try_send(&mut self, bytes: Vec<u8>) -> bool {
        patient(self.socket.send(Message::binary(bytes))).await.is_ok()
    }

    pub async fn send_message(&mut self, message: Message) {
        patient(self.socket.send(message)).await.unwrap();
    }

    pub async fn control<T: serde::Serialize>(&mut self, kind: FrameKind, session: SessionId, payload: &T) {
        self.send(encode_control(kind, session, payload).unwrap()).await;
    }

    /// The next frame or the end, whatever it is.
    pub async fn next(&mut self) -> Seen {
        // Around the whole: the hub's pings are no answer.
        patient(self.next_frame()).await
    }

    async fn next_frame(&mut self) -> Seen {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Binary(bytes))) => {
                    let frame = Frame::parse(&bytes).unwrap();
                    return Seen::Frame(frame.envelope, frame.payload.to_vec(), bytes.to_vec());
                }
                Some(Ok(Message::Close(frame))) => {
                    let frame = frame.unwrap_or(CloseFrame {
                        code: 1005.into(),
                        reason: "".into(),
                    });
                    return Seen::Closed(frame.code.into(), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Seen::Broken,
            }
        }
    }

    /// The next frame that is no session list.
    pub async fn next_but_lists(&mut self) -> Seen {
        loop {
            match self.next().await {
                Seen::Frame(envelope, ..) if envelope.kind == FrameKind::Sessions => {}
                other => return other,
            }
        }
    }

    /// The payload of the next frame, which must be of this kind; session lists are passed over.
    pub async fn expect<T: serde::de::DeserializeOwned>(&mut self, kind: FrameKind) -> T {
        let seen = if kind == FrameKind::Sessions {
            self.next().await
        } else {
            self.next_but_lists().await
        };
        match seen {
            Seen::Frame(envelope, _, bytes) if envelope.kind == kind => {
                Frame::parse(&bytes).unwrap().control("test").unwrap()
            }
            other => panic!("expected {kind:?}, got {other:?}"),
        }
    }

    pub async fn expect_refusal(&mut self, code: RefuseCode) -> String {
        let refuse: Refuse = self.expect(FrameKind::Refuse).await;
        assert_eq!(refuse.code, code, "{refuse:?}");
        refuse.message
    }

    /// Opens a session; what is durable of it.
    pub async fn open(&mut self, session: SessionId, first_seq: u64) -> u64 {
        self.control(FrameKind::Open, session, &open(first_seq)).await;
        let ack: Ack = self.expect(FrameKind::Ack).await;
        ack.durable_seq
    }

    pub async fn data(&mut self, session: SessionId, seq: u64, payload: &[u8]) {
        self.send(data(session, seq, payload)).await;
    }

    /// Reads acknowledgements until `seq` is durable.
    pub async fn acked(&mut self, seq: u64) {
        let mut durable_seq = 0;
        while durable_seq < seq {
            let ack: Ack = self.expect(FrameKind::Ack).await;
            durable_seq = ack.durable_seq;
        }
        assert_eq!(durable_seq, seq);
    }

    pub async fn subscribe(&mut self, session: SessionId, after_seq: u64) {
        self.control(FrameKind::Subscribe, session, &Subscribe { after_seq })
            .await;
    }

    /// Waits for a session list in which this session looks as wanted.
    pub async fn listed(
        &mut self,
        session: SessionId,
        wanted: impl Fn(&SessionSummary) -> bool,
    ) -> SessionSummary {
        loop {
            let seen = self.next().await;
            let Seen::Frame(envelope, _, bytes) = &seen else {
                panic!("expected a session list, got {seen:?}");
            };
            if envelope.kind != FrameKind::Sessions {
                continue;
            }
            let list: Sessions = Frame::parse(bytes).unwrap().control("test").unwrap();
            let found = list
                .sessions
                .into_iter()
                .find(|summary| summary.session == session);
            if let Some(summary) = found.filter(|summary| wanted(summary)) {
                return summary;
            }
        }
    }

    /// Says that the session is over, and waits for the hub to close.
    pub async fn end(mut self, reason: &str) {
        let frame = CloseFrame {
            code: 1000.into(),
            reason: reason.to_owned().into(),
        };
        self.send_message(Message::Close(Some(frame))).await;
        while !matches!(self.next().await, Seen::Broken) {}
    }
}

pub fn hello(role: Role) -> Hello {
    Hello {
        role,
        agent: "test".to_owned(),
        token: None,
    }
}

pub fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

/// Bytes that no compressor makes smaller, so that a frame is as long on the wire whether or not this build
/// of the protocol compresses (in a build of the whole workspace it does).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .collect()
}

pub fn data(session: SessionId, seq: u64, payload: &[u8]) -> Vec<u8> {
    encode(Envelope::data(session, seq, seq * 100, seq * 100 + 99), payload).unwrap()
}

pub fn open(first_seq: u64) -> Open {
    Open {
        signature: signature(),
        labels: Labels::default(),
        capabilities: Vec::new(),
        policy: Policy::default(),
        rate_write_granted: true,
        first_seq,
    }
}

pub fn signature() -> PlatformSignature {
    let text = |text: &str| text.to_owned();
    PlatformSignature {
        os: text("linux"),
        os_version: text("12"),
        kernel: text("6.1"),
        architecture: text("x86_64"),
        cpus: 2,
        page_size_bytes: 4096,
        huge_page_mode: text("madvise"),
        libc: text("glibc 2.36"),
        runtime: text("go"),
        runtime_version: text("go1.27.3"),
        build_id: text("abc"),
        host_name: text("host"),
        boot_id: text("boot"),
        pid: 7,
        executable: text("/srv/shop"),
        command_line: vec![text("/srv/shop")],
        collector_version: text("0.1.0"),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: 1,
            unix_ns: 2,
            error_ns: 3,
        },
    }
}

pub fn is_away(summary: &SessionSummary) -> bool {
    matches!(summary.state, SessionState::Away { .. })
}

/// An HTTP answer, taken apart.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Lower-case.
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// `name=value` of the cookie that was set.
    pub fn cookie(&self) -> String {
        let line = self.head.lines().find(|line| line.starts_with("set-cookie: "));
        let line = line.unwrap_or_else(|| panic!("no cookie in {self:?}"));
        line["set-cookie: ".len()..].split(';').next().unwrap().to_owned()
    }
}

/// One request on a connection of its own. `headers` are whole lines.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    );
    answer_in(&String::from_utf8_lossy(&raw(address, &request).await))
}

pub fn answer_in(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    }
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Makes a token through the API. `by` is an admin's, or empty on an open hub.
pub async fn make_token(address: SocketAddr, by: &str, name: &str, role: &str) -> (String, String) {
    let headers = if by.is_empty() { String::new() } else { bearer(by) };
    let body = format!("{{\"name\": \"{name}\", \"role\": \"{role}\"}}");
    let made = ask(address, "POST", "/api/v1/tokens", &headers, &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    (text("id"), text("token"))
}
