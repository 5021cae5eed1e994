//! A console without a browser: one WebSocket, and what it brought, fed into `heaptide_analysis`.

use crate::wait::{PATIENCE, lock, news, until};
use heaptide_analysis::Session;
use heaptide_analysis::views::{Headline, Metric, ProfileQuery, SiteTable, Timeline, TimelineQuery, Window};
use heaptide_policy::Policy;
use heaptide_protocol::control::{
    CaughtUp, Hello, Missed, Notice, PolicyPropose, PolicyState, Refuse, Role, SessionSummary, Sessions,
    Subscribe,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::{Frame, FrameKind, SessionId};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

/// How long reading may block what is to be sent.
const READ_FOR: Duration = Duration::from_millis(10);
/// More rows than a target has sites.
const ROWS: u32 = 10_000;

/// One session as this console has it.
#[derive(Debug, Default)]
pub struct View {
    pub session: Session,
    /// Sequence numbers in order of arrival.
    pub seqs: Vec<u64>,
    pub missed: Vec<Missed>,
    pub is_caught_up: bool,
    pub errors: Vec<String>,
}

/// Everything that the hub has said.
#[derive(Debug, Default)]
pub struct State {
    pub sessions: Vec<SessionSummary>,
    pub views: BTreeMap<SessionId, View>,
    pub notices: Vec<String>,
    /// Answers to proposals, as they came.
    pub policy_answers: Vec<PolicyState>,
    pub refused: Option<Refuse>,
    pub is_closed: bool,
}

/// A connection to `/ws/console`.
#[derive(Debug)]
pub struct Console {
    state: Arc<Mutex<State>>,
    send: Sender<Vec<u8>>,
}

impl Console {
    /// # Panics
    /// When the hub doesn't take the connection.
    #[must_use]
    pub fn connect(address: SocketAddr) -> Self {
        let socket = open_socket(address, Role::Console);
        let state = Arc::new(Mutex::new(State::default()));
        let (send, outgoing) = mpsc::channel();
        let console = Self {
            state: Arc::clone(&state),
            send,
        };
        console.control(FrameKind::Hello, SessionId::default(), &hello(Role::Console));
        std::thread::spawn(move || pump(socket, &outgoing, &state));
        console
    }

    /// Sends bytes as they are.
    pub fn send(&self, bytes: Vec<u8>) {
        let _ = self.send.send(bytes);
    }

    pub fn control<T: serde::Serialize>(&self, kind: FrameKind, session: SessionId, payload: &T) {
        self.send(encode_control(kind, session, payload).expect("a frame"));
    }

    /// Waits until the hub knows the session, and subscribes to all of it or what is missing here.
    pub fn subscribe(&self, session: SessionId) {
        self.listed(session, "the session at the hub", |_| true);
        let after_seq = self.view(session, |view| view.session.last_seq());
        self.control(FrameKind::Subscribe, session, &Subscribe { after_seq });
    }

    /// Looks at what has come so far.
    pub fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut lock(&self.state))
    }

    /// Looks at one session.
    pub fn view<T>(&self, session: SessionId, look: impl FnOnce(&View) -> T) -> T {
        self.with(|state| look(state.views.entry(session).or_default()))
    }

    /// Waits until `check` has a value; its `Err` says what is there instead.
    pub fn until<T>(&self, what: &str, mut check: impl FnMut(&State) -> Result<T, String>) -> T {
        until(what, || self.with(|state| check(state)))
    }

    /// Subscribes and waits for the session's end, which all that went before precedes.
    pub fn until_ended(&self, session: SessionId) -> String {
        self.subscribe(session);
        self.until("the session's end", |state| {
            let view = state.views.get(&session).ok_or("no such session yet")?;
            let ended = view.session.headline().ended;
            ended.ok_or_else(|| {
                let frames = view.seqs.len();
                format!(
                    "{frames} frames, errors {:?}, notices {:?}",
                    view.errors, state.notices
                )
            })
        })
    }

    /// Waits for the summary of a session that looks as wanted.
    pub fn listed(
        &self,
        session: SessionId,
        what: &str,
        wanted: impl Fn(&SessionSummary) -> bool,
    ) -> SessionSummary {
        self.until(what, |state| {
            let found = state.sessions.iter().find(|summary| summary.session == session);
            found.filter(|summary| wanted(summary)).cloned().ok_or_else(|| {
                format!(
                    "{:?}",
                    found.map(|summary| (&summary.state, &summary.policy, &summary.pulse))
                )
            })
        })
    }

    /// Proposes a change of the newest policy and waits for the collector's or the hub's answer to it.
    ///
    /// `Err` is why it was refused or rejected.
    pub fn propose(&self, session: SessionId, change: impl FnOnce(&mut Policy)) -> Result<Policy, String> {
        let summary = self.listed(session, "a policy in force", |summary| {
            summary.policy.applied.is_some() && summary.policy.pending.is_none()
        });
        let before = summary.policy.last_outcome.map_or(0, |outcome| outcome.revision);
        let mut policy = summary.policy.applied.expect("just seen");
        change(&mut policy);
        let answers = self.with(|state| state.policy_answers.len());
        self.control(FrameKind::PolicyPropose, session, &PolicyPropose { policy });
        let refused = self.until("the hub's answer to the proposal", |state| {
            let answer = state.policy_answers.get(answers);
            answer
                .map(|answer| answer.refused.clone())
                .ok_or_else(|| format!("{:?}", state.notices))
        });
        if let Some(why) = refused {
            return Err(why);
        }
        let summary = self.listed(session, "the collector's answer to the policy", |summary| {
            summary.policy.pending.is_none()
                && summary
                    .policy
                    .last_outcome
                    .as_ref()
                    .is_some_and(|outcome| outcome.revision > before)
        });
        match summary.policy.last_outcome.expect("just seen").result {
            heaptide_protocol::control::PolicyResult::Applied { policy, .. } => Ok(policy),
            heaptide_protocol::control::PolicyResult::Rejected { reason } => Err(reason.to_string()),
        }
    }

    /// Subscribes and waits until the collector has told of this rate: what is allocated before is weighed by
    /// the one that it knew before.
    pub fn until_sampling(&self, session: SessionId, rate_bytes: u64) {
        self.subscribe(session);
        until("the rate to be in force", || {
            let now = self.headline(session).sampling_rate_bytes;
            (now == rate_bytes).then_some(()).ok_or(now)
        });
    }

    #[must_use]
    pub fn headline(&self, session: SessionId) -> Headline {
        self.view(session, |view| view.session.headline())
    }

    /// Call sites of a window, the largest first.
    #[must_use]
    pub fn sites(&self, session: SessionId, window: Window, metric: Metric) -> SiteTable {
        self.sites_like(session, window, metric, "")
    }

    /// The same of the stacks with this function in them.
    #[must_use]
    pub fn sites_like(
        &self,
        session: SessionId,
        window: Window,
        metric: Metric,
        function: &str,
    ) -> SiteTable {
        let query = ProfileQuery {
            window,
            metric,
            filter: function.to_owned(),
            limit: ROWS,
        };
        self.view(session, |view| view.session.sites(&query))
    }

    #[must_use]
    pub fn timeline(&self, session: SessionId) -> Timeline {
        let window = Window {
            from_ns: 0,
            to_ns: u64::MAX,
        };
        self.view(session, |view| {
            view.session.timeline(&TimelineQuery { window, points: 1000 })
        })
    }
}

pub fn hello(role: Role) -> Hello {
    Hello {
        role,
        agent: "heaptide end-to-end test".to_owned(),
        token: None,
    }
}

/// A WebSocket on which nothing has been said yet.
///
/// # Panics
/// When the hub doesn't take the connection.
#[must_use]
pub fn open_socket(address: SocketAddr, role: Role) -> WebSocket<TcpStream> {
    let path = match role {
        Role::Collector => "collector",
        Role::Console => "console",
    };
    let mut request = format!("ws://{address}/ws/{path}")
        .into_client_request()
        .expect("a request");
    if role == Role::Console {
        let origin = format!("http://{address}").parse().expect("a header");
        request.headers_mut().insert("origin", origin);
    }
    let stream = TcpStream::connect(address).expect("the hub listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let (socket, _) = client::client(request, stream).expect("the hub opens a WebSocket");
    socket
        .get_ref()
        .set_read_timeout(Some(READ_FOR))
        .expect("a time limit");
    socket
}

/// Reads and writes until either side goes.
fn pump(mut socket: WebSocket<TcpStream>, outgoing: &Receiver<Vec<u8>>, state: &Mutex<State>) {
    loop {
        loop {
            match outgoing.try_recv() {
                Ok(bytes) => {
                    if socket.send(Message::binary(bytes)).is_err() {
                        break;
                    }
                }
                Err(mpsc::TryRecvError::Empty) => break,
                Err(mpsc::TryRecvError::Disconnected) => return,
            }
        }
        match socket.read() {
            Ok(Message::Binary(bytes)) => take(&bytes, &mut lock(state)),
            Ok(Message::Close(_)) => {}
            Ok(_) => continue,
            Err(Error::Io(error)) if is_timeout(&error) => continue,
            Err(_) => {
                lock(state).is_closed = true;
                news();
                return;
            }
        }
        news();
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
    )
}

/// One message of the hub.
fn take(bytes: &[u8], state: &mut State) {
    let frame = Frame::parse(bytes).expect("the hub sends whole frames");
    let id = frame.envelope.session;
    match frame.envelope.kind {
        FrameKind::Sessions => state.sessions = payload::<Sessions>(&frame).sessions,
        FrameKind::Notice => state.notices.push(payload::<Notice>(&frame).message),
        FrameKind::PolicyState => state.policy_answers.push(payload(&frame)),
        FrameKind::Refuse => state.refused = Some(payload(&frame)),
        FrameKind::Data => {
            let view = state.views.entry(id).or_default();
            view.seqs.push(frame.envelope.seq);
            if let Err(error) = view.session.apply(&frame) {
                view.errors.push(error.to_string());
            }
        }
        FrameKind::Missed => {
            let missed: Missed = payload(&frame);
            let view = state.views.entry(id).or_default();
            view.session.missed(missed.from_seq, missed.to_seq);
            view.missed.push(missed);
        }
        FrameKind::CaughtUp => {
            let CaughtUp { .. } = payload(&frame);
            state.views.entry(id).or_default().is_caught_up = true;
        }
        _ => {}
    }
}

fn payload<T: serde::de::DeserializeOwned>(frame: &Frame<'_>) -> T {
    frame.control("control frame").expect("a payload of its kind")
}
