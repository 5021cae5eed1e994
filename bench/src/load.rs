//! A hub with a fleet: a thousand collectors that send a frame each second, and two hundred browsers that look.

use crate::hub::start_of;
use crate::memory::resident_mb;
use crate::record::{Program, Recordings};
use crate::report::{Figure, Goal, Report};
use crate::sys::process_cpu_ns;
use crate::tools::Hub;
use anyhow::{Context as _, Result, bail};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use heaptide_policy::Policy;
use heaptide_protocol::control::{Hello, Open, Role, Subscribe};
use heaptide_protocol::events::{EventBatch, EventBody, EventKind};
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::section::{Section, SectionWriter, SessionStart};
use heaptide_protocol::{Envelope, Frame, FrameKind, SessionId, StackId, SymbolGen, TagId};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::time::{Instant as Tick, sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderValue, header};
use tokio_tungstenite::{WebSocketStream, client_async};

const COLLECTORS: u32 = 1_000;
const BROWSERS: u32 = 200;
const PERIOD: Duration = Duration::from_secs(1);
/// Names of figures, and how many events are in a frame of one collector.
const LOADS: [(&str, u32); 2] = [("load", 100), ("load.heavy", 5_000)];
/// The first frame of a session makes its files, and a thousand come at once.
const SETTLING: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(30);

type Sink = SplitSink<WebSocketStream<TcpStream>, Message>;
type Source = SplitStream<WebSocketStream<TcpStream>>;

pub(crate) fn measure(quick: bool, recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    let start = start_of(&recordings.get(Program::Sites)?)?;
    for (name, events) in LOADS {
        one(name, events, quick, &start, report)?;
    }
    Ok(())
}

fn one(name: &str, events: u32, quick: bool, start: &SessionStart, report: &mut Report) -> Result<()> {
    let length = SETTLING + Duration::from_secs(if quick { 5 } else { 30 });
    let hub = Hub::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let load = runtime.block_on(run(&hub, start, length, events))?;
    let method = format!(
        "from a frame's sending by one of {COLLECTORS} collectors to its arrival at one of {BROWSERS} browsers, \
         made durable in between; a frame of {events} events each second from each collector; the load's own \
         delays on the same processors are in it"
    );
    let (first, settled): (Vec<_>, Vec<_>) = load
        .arrivals
        .iter()
        .partition(|arrival| arrival.sent_ns < load.settled_ns);
    let milliseconds = |arrivals: &[&Arrival]| -> Result<Vec<f64>> {
        let mut sorted: Vec<f64> = arrivals
            .iter()
            .map(|arrival| arrival.spent_ns as f64 / 1e6)
            .collect();
        if sorted.is_empty() {
            bail!("no frame has reached a browser");
        }
        sorted.sort_by(f64::total_cmp);
        Ok(sorted)
    };
    let sorted = milliseconds(&settled)?;
    let of = |sorted: &[f64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
    let rank = |share: f64| of(&sorted, share);
    report.add(Figure::new(
        format!("{name}.latency.p50"),
        "ms",
        &[rank(0.5)],
        &method,
    ));
    report.add(Figure::new(
        format!("{name}.opening.p99"),
        "ms",
        &[of(&milliseconds(&first)?, 0.99)],
        &format!("the same for frames of the first {SETTLING:?}, in which {COLLECTORS} sessions begin"),
    ));
    report.add(
        Figure::new(
            format!("{name}.latency.p99"),
            "ms",
            &[rank(0.99)],
            &format!("the same, of {} arrivals", sorted.len()),
        )
        .goal(Goal::AtMost(250.0)),
    );
    report.add(Figure::new(
        format!("{name}.events"),
        "events/s",
        &[load.events_per_s],
        "sent in that time",
    ));
    report.add(Figure::new(
        format!("{name}.missing"),
        "frames",
        &[load.missing as f64],
        "sent of the sessions that browsers looked at, and not arrived two seconds after the last",
    ));
    report.add(Figure::new(
        format!("{name}.cpu"),
        "cores",
        &[load.hub_cores],
        "CPU of the hub's process in that time",
    ));
    report.add(Figure::new(
        format!("{name}.rss"),
        "MB",
        &[load.first_rss_mb, load.last_rss_mb],
        "resident memory of the hub's process, once sessions are open and at the end",
    ));
    Ok(())
}

/// Times of one frame, from one beginning.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    sent_ns: u64,
    spent_ns: u64,
}

struct Load {
    arrivals: Vec<Arrival>,
    settled_ns: u64,
    events_per_s: f64,
    missing: u64,
    hub_cores: f64,
    first_rss_mb: f64,
    last_rss_mb: f64,
}

async fn run(hub: &Hub, start: &SessionStart, length: Duration, events: u32) -> Result<Load> {
    let mut collectors = Vec::new();
    for number in 0..COLLECTORS {
        let session = session(number);
        let (mut sink, mut source) = connect(hub.address, Role::Collector).await?;
        sink.send(Message::binary(encode_control(
            FrameKind::Open,
            session,
            &open(start, number),
        )?))
        .await?;
        // The hub's answers have to be read, or it would wait.
        tokio::spawn(async move { while let Some(Ok(_)) = source.next().await {} });
        collectors.push((session, sink));
    }
    let began = Instant::now();
    let arrivals: Arc<Mutex<Vec<Arrival>>> = Arc::default();
    let mut browsers = Vec::new();
    for number in 0..BROWSERS {
        let (mut sink, mut source) = connect(hub.address, Role::Console).await?;
        let subscribe = encode_control(
            FrameKind::Subscribe,
            session(number * (COLLECTORS / BROWSERS)),
            &Subscribe { after_seq: 0 },
        )?;
        sink.send(Message::binary(subscribe)).await?;
        let arrivals = Arc::clone(&arrivals);
        browsers.push(tokio::spawn(async move {
            while let Some(Ok(message)) = source.next().await {
                let Message::Binary(bytes) = message else { continue };
                let Ok(frame) = Frame::parse(&bytes) else { continue };
                if frame.envelope.kind == FrameKind::Data {
                    let sent_ns = frame.envelope.first_ns;
                    let spent_ns = (began.elapsed().as_nanos() as u64).saturating_sub(sent_ns);
                    let mut arrivals = arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    arrivals.push(Arrival { sent_ns, spent_ns });
                }
            }
            // Kept open until here.
            drop(sink);
        }));
    }
    let pid = hub.process.pid();
    let payload = payload(events)?;
    let settled_ns = (began.elapsed() + SETTLING).as_nanos() as u64;
    let since = Instant::now();
    let cpu_before = process_cpu_ns(pid)?;
    let ends = Tick::now() + length;
    let mut senders = Vec::new();
    for (at, (session, mut sink)) in collectors.into_iter().enumerate() {
        let payload = payload.clone();
        senders.push(tokio::spawn(async move {
            // Spread over the period.
            let mut next = Tick::now() + PERIOD * at as u32 / COLLECTORS;
            let mut seq = 0;
            while next < ends {
                tokio::time::sleep_until(next).await;
                next += PERIOD;
                seq += 1;
                let now_ns = began.elapsed().as_nanos() as u64;
                let frame = encode(Envelope::data(session, seq, now_ns, now_ns), &payload)?;
                sink.send(Message::binary(frame)).await?;
            }
            Ok::<u64, anyhow::Error>(seq)
        }));
    }
    sleep(SETTLING).await;
    let first_rss_mb = resident_mb(pid, "VmRSS:")?;
    let mut sent = 0;
    let mut looked_at = 0;
    for (number, sender) in senders.into_iter().enumerate() {
        let frames = timeout(length + PATIENCE, sender)
            .await
            .context("the hub doesn't take what is sent")???;
        sent += frames;
        if (number as u32).is_multiple_of(COLLECTORS / BROWSERS) {
            looked_at += frames;
        }
    }
    let spent_s = since.elapsed().as_secs_f64();
    let hub_cores = (process_cpu_ns(pid)? - cpu_before) as f64 / 1e9 / spent_s;
    sleep(Duration::from_secs(2)).await;
    let last_rss_mb = resident_mb(pid, "VmRSS:")?;
    browsers.iter().for_each(tokio::task::JoinHandle::abort);
    let arrivals = std::mem::take(&mut *arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    Ok(Load {
        missing: looked_at.saturating_sub(arrivals.len() as u64),
        events_per_s: (sent * u64::from(events)) as f64 / spent_s,
        arrivals,
        settled_ns,
        hub_cores,
        first_rss_mb,
        last_rss_mb,
    })
}

async fn connect(address: SocketAddr, role: Role) -> Result<(Sink, Source)> {
    let path = match role {
        Role::Collector => "collector",
        _ => "console",
    };
    let mut request = format!("ws://{address}/ws/{path}").into_client_request()?;
    if role != Role::Collector {
        let origin = HeaderValue::from_str(&format!("http://{address}"))?;
        request.headers_mut().insert(header::ORIGIN, origin);
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (socket, _) = timeout(PATIENCE, client_async(request, stream))
        .await
        .context("the hub opens no WebSocket")??;
    let (mut sink, source) = socket.split();
    let hello = Hello {
        role,
        agent: "heaptide-bench".to_owned(),
        token: None,
    };
    let hello = encode_control(FrameKind::Hello, SessionId::default(), &hello)?;
    sink.send(Message::binary(hello)).await?;
    Ok((sink, source))
}

fn session(number: u32) -> SessionId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    SessionId(id)
}

/// Ten hosts with a hundred processes of ten services, otherwise as recorded.
fn open(start: &SessionStart, number: u32) -> Open {
    let mut signature = start.signature.clone();
    signature.host_name = format!("host-{}", number % 10);
    signature.pid = number + 1;
    let service = ("service".to_owned(), format!("service-{}", number / 10 % 10));
    Open {
        signature,
        labels: std::iter::once(service).collect(),
        capabilities: start.capabilities.clone(),
        policy: Policy::default(),
        rate_write_granted: false,
        first_seq: 1,
    }
}

/// Allocations of a few call sites, as a busy service sends them.
fn payload(events: u32) -> Result<Vec<u8>> {
    let mut batch = EventBatch::new(1, 1_000_000, SymbolGen(0), 524_288, false);
    for number in 0..events {
        let body = EventBody::Alloc {
            alloc_size_bytes: 64 << (number % 7),
            stack: StackId(number * 7 % 31),
            heap_tag: TagId(0),
            goroutine_id: u64::from(number % 13) + 1,
            address: None,
        };
        batch.push(
            1_000_000 + u64::from(number) * 970_000_000 / u64::from(events),
            number % 4,
            EventKind::Alloc,
            body,
        );
    }
    let mut sections = SectionWriter::default();
    sections.push(&Section::Events(batch))?;
    Ok(sections.take())
}
