//! A policy turns the kernel's classes on and off in a running watch, and what was on is in the session.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_analysis::Session;
use heaptide_analysis::report::{ReportKind, ReportQuery};
use heaptide_analysis::views::Window;
use heaptide_collector::linux::bpf::{BpfOptions, BpfSession};
use heaptide_collector::watch::{Destination, StopRequest, TargetChoice, WatchConfig, watch};
use heaptide_hub::{Hub, HubConfig};
use heaptide_policy::{Policy, Sources};
use heaptide_protocol::control::{
    Hello, PolicyPropose, PolicyResult, Role, SessionSummary, Sessions, Subscribe,
};
use heaptide_protocol::frame::encode_control;
use heaptide_protocol::session::CapabilityState;
use heaptide_protocol::{Frame, FrameKind, SessionId};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::target::{Events, table, text};
use crate::{alone, links, session, toolchains};

const PAGES: u64 = 2_000;
/// Of page faults, of scheduling, and the sites of assists and sweeps.
const MORE_LINKS: usize = 1 + 2 + 4;

#[test]
fn a_policy_turns_classes_on_and_off() {
    if !alone("policy::a_policy_turns_classes_on_and_off") {
        return;
    }
    let Some(go) = toolchains().pop() else { return };
    if session().is_none() {
        return;
    }
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    };
    let dir = tempfile::tempdir().expect("a folder");
    let (address_out, address_in) = std::sync::mpsc::channel();
    let data = dir.path().join("hub");
    std::thread::spawn(move || {
        runtime().block_on(async {
            let config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), data);
            let hub = Hub::bind(config).await.expect("a hub");
            address_out.send(hub.address()).expect("a listener");
            hub.run(std::future::pending()).await;
        });
    });
    let address = address_in.recv().expect("the hub's address");

    let mut target = Events::start(&go, &["-mode", "touch", "-pages", &PAGES.to_string()]);
    let path = std::env::var_os("HEAPTIDE_BPF_OBJECT").expect("checked above");
    let object = std::fs::read(path).expect("the object").leak();
    assert!(BpfSession::load(object, &BpfOptions::default()).is_ok());
    assert_eq!(links(), 0);
    let config = WatchConfig {
        target: TargetChoice::Attach { pid: target.pid() },
        destination: Destination::Hub {
            url: format!("ws://{address}"),
            token: None,
            trust: Default::default(),
            spool_root: dir.path().join("spool"),
        },
        labels: Default::default(),
        policy: Policy {
            sources: Sources {
                huge_pages: false,
                ..Sources::default()
            },
            ..Policy::default()
        },
        allow_rate_write: false,
        allow_leak_check: false,
        bpf_object: Some(object),
        own_executable: "/bin/false".into(),
        confinement: None,
    };
    let (stop, stopped) = mpsc::channel(1);
    let watching = std::thread::spawn(move || {
        runtime().block_on(watch(config, stopped, &mut |event| eprintln!("{event:?}")))
    });

    runtime().block_on(async {
        let mut console = Console::connect(address).await;
        let summary = console.until(|summary| summary.policy.applied.is_some()).await;
        let id = summary.session;
        let before = links();
        assert!(before > 0);
        let off = summary
            .capabilities
            .iter()
            .filter(|row| matches!(&row.state, CapabilityState::Off { why } if why.contains("by policy")))
            .count();
        assert!(off >= 4, "{:?}", summary.capabilities);

        console
            .propose(&summary, |sources| {
                sources.page_faults_one_in = 1;
                sources.scheduling = true;
                sources.gc_work = true;
            })
            .await;
        assert_eq!(links(), before + MORE_LINKS);
        let done = target.work_alone();
        assert_eq!(done.pages, PAGES);
        tokio::time::sleep(Duration::from_millis(400)).await;
        let summary = console.until(|summary| summary.policy.pending.is_none()).await;
        console
            .propose(&summary, |sources| {
                sources.page_faults_one_in = 0;
                sources.scheduling = false;
                sources.gc_work = false;
            })
            .await;
        assert_eq!(links(), before);
        stop.send(StopRequest::Detach).await.expect("a watch");
        let outcome = tokio::task::spawn_blocking(move || watching.join().expect("no panic"))
            .await
            .expect("no panic")
            .expect("a watch without errors");
        assert!(outcome.delivered, "{outcome:?}");
        assert_eq!(links(), 0);

        let view = console.stored(id).await;
        let report = view.report(&ReportQuery {
            kind: ReportKind::Mappings,
            window: Window {
                from_ns: 0,
                to_ns: u64::MAX,
            },
            filter: "main.touch".to_owned(),
            limit: 10,
        });
        let faults = table(&report, "Page faults by call site");
        assert_eq!(text(&faults.rows[0].cells[0]), "main.touch");
        let heaptide_analysis::report::Cell::Figure(figure) = faults.rows[0].cells[1] else {
            panic!("{faults:?}")
        };
        assert_eq!(figure.value, PAGES as f64);
        // The filter takes whole stacks: those that the function is somewhere in.
        assert!(
            faults.rows.iter().all(|row| row.stacks[0]
                .1
                .iter()
                .any(|frame| frame.function.starts_with("main.touch"))),
            "{faults:?}"
        );
        let headline = view.headline();
        assert_eq!(headline.dropped, 0, "{:?}", headline.hops);
        assert!(
            headline.hops.iter().all(|hop| hop.imbalance() == 0),
            "{:?}",
            headline.hops
        );
    });
}

struct Console {
    address: SocketAddr,
    socket: WebSocketStream<TcpStream>,
}

impl Console {
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the hub listens");
        let mut request = format!("ws://{address}/ws/console")
            .into_client_request()
            .expect("a request");
        let origin = format!("http://{address}").parse().expect("a header");
        request.headers_mut().insert("origin", origin);
        let (socket, _) = client_async(request, stream).await.expect("a socket");
        let mut console = Self { address, socket };
        let hello = Hello {
            role: Role::Console,
            agent: "test".to_owned(),
            token: None,
        };
        console.send(FrameKind::Hello, SessionId::default(), &hello).await;
        console
    }

    async fn send<T: serde::Serialize>(&mut self, kind: FrameKind, session: SessionId, payload: &T) {
        let frame = encode_control(kind, session, payload).expect("a frame");
        let message = Message::Binary(frame.into());
        self.socket.send(message).await.expect("the hub takes it");
    }

    async fn next(&mut self) -> Vec<u8> {
        let next = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => return bytes.to_vec(),
                    Some(Ok(_)) => {}
                    other => panic!("console: {other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), next)
            .await
            .expect("a frame within a minute")
    }

    /// Waits until the hub lists its one session so.
    async fn until(&mut self, wanted: impl Fn(&SessionSummary) -> bool) -> SessionSummary {
        loop {
            let bytes = self.next().await;
            let frame = Frame::parse(&bytes).expect("a frame");
            if frame.envelope.kind == FrameKind::Sessions {
                let list: Sessions = frame.control("sessions").expect("a list");
                if let Some(summary) = list.sessions.into_iter().find(|summary| wanted(summary)) {
                    return summary;
                }
            }
        }
    }

    /// Proposes a change and waits until the collector has made it.
    async fn propose(&mut self, summary: &SessionSummary, change: fn(&mut Sources)) {
        let outcome = |summary: &SessionSummary| {
            let last = summary.policy.last_outcome.as_ref();
            last.map_or(0, |outcome| outcome.revision)
        };
        let before = outcome(summary);
        let mut policy = summary.policy.applied.clone().expect("a policy in force");
        change(&mut policy.sources);
        self.send(
            FrameKind::PolicyPropose,
            summary.session,
            &PolicyPropose { policy },
        )
        .await;
        let summary = self.until(|summary| outcome(summary) > before).await;
        let result = summary.policy.last_outcome.map(|outcome| outcome.result);
        assert!(matches!(result, Some(PolicyResult::Applied { .. })), "{result:?}");
    }

    /// What a viewer makes of all frames of a session.
    async fn stored(&self, session: SessionId) -> Session {
        let mut console = Self::connect(self.address).await;
        let all = Subscribe { after_seq: 0 };
        console.send(FrameKind::Subscribe, session, &all).await;
        let mut view = Session::new();
        loop {
            let bytes = console.next().await;
            let frame = Frame::parse(&bytes).expect("a frame");
            match frame.envelope.kind {
                FrameKind::Data => view.apply(&frame).expect("a whole frame"),
                FrameKind::CaughtUp => return view,
                _ => {}
            }
        }
    }
}
