//! How fast a hub makes frames durable: one collector connection, every frame acknowledged when it is on disk.

use crate::record::{Program, Recorded, Recordings};
use crate::report::{Figure, Goal, Report, short};
use crate::sys::process_cpu_ns;
use crate::tools::Hub;
use anyhow::{Context as _, Result, bail};
use heaptide_policy::Policy;
use heaptide_protocol::control::{Ack, Hello, Open, Role};
use heaptide_protocol::events::EventBatch;
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::section::{Section, SectionKind, Sections, SessionStart};
use heaptide_protocol::{Envelope, Frame, FrameKind, SessionId};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// Frames on the way and not yet acknowledged, at most.
const WINDOW: u64 = 64;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure(quick: bool, recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    let (rounds, frames) = if quick { (2, 100) } else { (5, 500) };
    let recorded = recordings.get(Program::Sites)?;
    let start = start_of(&recorded)?;
    let events = events_of(&recorded)?;
    let (mut frame_rates, mut byte_rates, mut cpu, mut event_rates) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut mean_bytes = 0.0;
    for round in 0..rounds {
        let session = SessionId([round as u8 + 1; 16]);
        let messages: Vec<Vec<u8>> = recorded
            .iter()
            .cycle()
            .zip(1..=frames)
            .map(|(frame, seq)| encode(Envelope::data(session, seq, seq, seq), &frame.raw))
            .collect::<Result<_, _>>()?;
        let bytes: usize = messages.iter().map(Vec::len).sum();
        mean_bytes = bytes as f64 / messages.len() as f64;
        let hub = Hub::start()?;
        let mut socket = connect(&hub)?;
        open_session(&mut socket, session, &start)?;
        let cpu_before = process_cpu_ns(hub.process.pid())?;
        let since = Instant::now();
        let mut durable = 0;
        for (message, seq) in messages.into_iter().zip(1..) {
            socket.write(Message::binary(message))?;
            if seq >= durable + WINDOW {
                socket.flush()?;
                durable = wait_for_ack(&mut socket, durable + 1)?;
            }
        }
        socket.flush()?;
        wait_for_ack(&mut socket, frames)?;
        let spent = since.elapsed().as_secs_f64();
        frame_rates.push(frames as f64 / spent);
        byte_rates.push(bytes as f64 / 1e6 / spent);
        let cpu_ns = (process_cpu_ns(hub.process.pid())? - cpu_before) as f64;
        cpu.push(cpu_ns / 1e3 / frames as f64);
        let sent: usize = events.iter().cycle().take(frames as usize).sum();
        event_rates.push(sent as f64 * 1e3 / cpu_ns);
    }
    let method = format!(
        "recorded ticks of {} bytes over one WebSocket, at most {WINDOW} unacknowledged, until the last is \
         acknowledged as durable",
        short(mean_bytes)
    );
    report.add(Figure::new("hub.frames", "frames/s", &frame_rates, &method));
    report.add(Figure::new(
        "hub.bytes",
        "MB/s",
        &byte_rates,
        "the same in bytes of frames",
    ));
    report.add(Figure::new(
        "hub.cpu",
        "µs/frame",
        &cpu,
        "CPU of the hub's process in that time",
    ));
    report.add(
        Figure::new(
            "hub.events",
            "M events/s/core",
            &event_rates,
            "events in these frames by that CPU time",
        )
        .goal(Goal::AtLeast(20.0)),
    );
    Ok(())
}

pub(crate) fn start_of(recorded: &[Recorded]) -> Result<SessionStart> {
    recorded
        .iter()
        .flat_map(|frame| Sections::new(&frame.raw).flatten())
        .find_map(|section| match section {
            Section::Start(start) => Some(start),
            _ => None,
        })
        .context("the recording has no start")
}

/// Of each frame.
fn events_of(recorded: &[Recorded]) -> Result<Vec<usize>> {
    let of = |frame: &Recorded| -> Result<usize> {
        let batches = frame.sections(SectionKind::Events)?;
        batches
            .into_iter()
            .map(|batch| Ok(EventBatch::decode(batch)?.len()))
            .sum()
    };
    recorded.iter().map(of).collect()
}

pub(crate) fn open_session(
    socket: &mut WebSocket<TcpStream>,
    session: SessionId,
    start: &SessionStart,
) -> Result<()> {
    let open = Open {
        signature: start.signature.clone(),
        labels: start.labels.clone(),
        capabilities: start.capabilities.clone(),
        policy: Policy::default(),
        rate_write_granted: false,
        first_seq: 1,
    };
    socket.send(Message::binary(encode_control(FrameKind::Open, session, &open)?))?;
    wait_for_ack(socket, 0)?;
    Ok(())
}

pub(crate) fn connect(hub: &Hub) -> Result<WebSocket<TcpStream>> {
    connect_as(hub, Role::Collector)
}

pub(crate) fn connect_as(hub: &Hub, role: Role) -> Result<WebSocket<TcpStream>> {
    let path = if role == Role::Console {
        "console"
    } else {
        "collector"
    };
    let mut request = format!("ws://{}/ws/{path}", hub.address).into_client_request()?;
    if role == Role::Console {
        let origin = format!("http://{}", hub.address).parse()?;
        request.headers_mut().insert("origin", origin);
    }
    let stream = TcpStream::connect(hub.address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (mut socket, _) = client::client(request, stream)
        .ok()
        .context("the hub opens no WebSocket")?;
    let hello = Hello {
        role,
        agent: "heaptide-bench".to_owned(),
        token: None,
    };
    socket.send(Message::binary(encode_control(
        FrameKind::Hello,
        SessionId::default(),
        &hello,
    )?))?;
    Ok(socket)
}

/// Waits until everything up to `seq` is durable; returns up to where it is.
pub(crate) fn wait_for_ack(socket: &mut WebSocket<TcpStream>, seq: u64) -> Result<u64> {
    loop {
        let Message::Binary(message) = socket.read()? else {
            continue;
        };
        let frame = Frame::parse(&message)?;
        match frame.envelope.kind {
            FrameKind::Ack => {
                let ack: Ack = frame.control("ack")?;
                if ack.durable_seq >= seq {
                    return Ok(ack.durable_seq);
                }
            }
            FrameKind::Refuse => bail!("the hub refuses: {:?}", String::from_utf8_lossy(frame.payload)),
            _ => {}
        }
    }
}
