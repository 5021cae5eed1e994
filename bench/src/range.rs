//! How soon a day is on the screen: any range of a session of 24 hours, asked for as a console does.

use crate::hub::{connect, connect_as, open_session, start_of, wait_for_ack};
use crate::record::{Program, Recordings};
use crate::report::{Figure, Goal, Report};
use crate::tools::{Hub, pass};
use anyhow::{Context as _, Result, bail};
use heaptide_protocol::control::{Overview, Role, Stretch};
use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef, TagDef};
use heaptide_protocol::frame::{encode, encode_control};
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{
    Envelope, Frame, FrameId, FrameKind, SessionId, StackId, StringId, SymbolGen, TagId,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tokio_tungstenite::tungstenite::Message;

const TICK_NS: u64 = 100_000_000;
const DAY_TICKS: u64 = 24 * 60 * 60 * 10;
const SITES: u32 = 200;
/// Of them in a tick.
const BUSY: u32 = 20;
const WINDOW: u64 = 256;
/// As `web/src/net/link.rs`.
const CONSOLE_PAST_BYTES: u64 = 1_280 << 10;

pub(crate) fn measure(quick: bool, recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    let ticks = if quick { DAY_TICKS / 24 } else { DAY_TICKS };
    let start = start_of(&recordings.get(Program::Sites)?)?;
    let hub = Hub::start()?;
    let session = SessionId([3; 16]);
    let mut socket = connect(&hub)?;
    open_session(&mut socket, session, &start)?;
    let mut durable = 0;
    for tick in 1..=ticks {
        socket.write(Message::binary(frame(session, tick)?))?;
        if tick >= durable + WINDOW {
            socket.flush()?;
            durable = wait_for_ack(&mut socket, durable + 1)?;
        }
    }
    socket.flush()?;
    wait_for_ack(&mut socket, ticks)?;
    let parts = until_sealed(hub.address)?;
    let mut spent_ms = Vec::new();
    let mut megabytes = Vec::new();
    let mut console_ms = Vec::new();
    let mut console_megabytes = Vec::new();
    let mut frames = Vec::new();
    // The whole day, hours, minutes and seconds, from its beginning, its middle and its end.
    let end_ns = ticks * TICK_NS;
    for length_ns in [end_ns, end_ns / 4, end_ns / 24, end_ns / 1_440, end_ns / 8_640] {
        for part in 0..=6 {
            let from_ns = (end_ns - length_ns) / 6 * part;
            let path = format!(
                "/api/v1/sessions/{session}/range?from_ns={from_ns}&to_ns={}&points=1500&sites=200",
                from_ns + length_ns
            );
            let since = Instant::now();
            let bytes = get(hub.address, &path)?;
            spent_ms.push(since.elapsed().as_secs_f64() * 1e3);
            megabytes.push(bytes as f64 / 1e6);
            let opened = open_in_console(&hub, session, from_ns, from_ns + length_ns)?;
            console_ms.push(opened.spent.as_secs_f64() * 1e3);
            console_megabytes.push(opened.bytes as f64 / 1e6);
            frames.push(opened.frames as f64);
        }
    }
    report_console(&mut console_ms, &mut console_megabytes, &frames, report);
    let method = format!(
        "from the request to the last byte of the answer, {} h of ticks of 100 ms with {BUSY} of {SITES} call sites \
         each, in {parts} parts; ranges from 10 s to all of it at seven places; 1,500 points and 200 sites",
        ticks / 36_000
    );
    report.add(Figure::new("range.open", "ms", &spent_ms, &method));
    spent_ms.sort_by(f64::total_cmp);
    let slowest = spent_ms.last().copied().unwrap_or(0.0);
    report
        .add(Figure::new("range.slowest", "ms", &[slowest], "the slowest of them").goal(Goal::AtMost(300.0)));
    megabytes.sort_by(f64::total_cmp);
    let largest = megabytes.last().copied().unwrap_or(0.0);
    report.add(
        Figure::new(
            "range.largest",
            "MB",
            &[largest],
            "the largest answer, head included",
        )
        .goal(Goal::AtMost(2.0 * 1.048_576)),
    );
    Ok(())
}

struct Opened {
    spent: Duration,
    bytes: usize,
    frames: u64,
}

/// From the question of a connected console to the end of what is stored, read as a browser does.
fn open_in_console(hub: &Hub, session: SessionId, from_ns: u64, to_ns: u64) -> Result<Opened> {
    let mut socket = connect_as(hub, Role::Console)?;
    let ask = Overview {
        past_bytes: CONSOLE_PAST_BYTES,
        close_from_ns: from_ns,
        close_to_ns: to_ns,
    };
    let since = Instant::now();
    socket.send(Message::binary(encode_control(
        FrameKind::Overview,
        session,
        &ask,
    )?))?;
    let (mut bytes, mut frames) = (0, 0);
    let mut data = heaptide_analysis::Session::new();
    loop {
        let Message::Binary(message) = socket.read()? else {
            continue;
        };
        let frame = Frame::parse(&message)?;
        match frame.envelope.kind {
            FrameKind::Data => {
                bytes += message.len();
                frames += 1;
                data.apply(&frame)?;
            }
            FrameKind::Stretch => {
                let stretch: Stretch = frame.control("stretch")?;
                data.stretch(stretch.from_seq, stretch.to_seq, stretch.step_ns);
            }
            FrameKind::CaughtUp => break,
            _ => {}
        }
    }
    if data.missed_frames() > 0 {
        bail!("{} frames are missing", data.missed_frames());
    }
    Ok(Opened {
        spent: since.elapsed(),
        bytes,
        frames,
    })
}

fn report_console(spent_ms: &mut [f64], megabytes: &mut [f64], frames: &[f64], report: &mut Report) {
    report.add(Figure::new(
        "range.console",
        "ms",
        spent_ms,
        "the same ranges looked at closely by a console that opens the session anew, until it has read and analysed \
         what is stored (natively)",
    ));
    spent_ms.sort_by(f64::total_cmp);
    let slowest = spent_ms.last().copied().unwrap_or(0.0);
    report.add(
        Figure::new("range.console.slowest", "ms", &[slowest], "the slowest of them")
            .goal(Goal::AtMost(300.0)),
    );
    megabytes.sort_by(f64::total_cmp);
    let largest = megabytes.last().copied().unwrap_or(0.0);
    report.add(
        Figure::new(
            "range.console.largest",
            "MB",
            &[largest],
            "data frames of the largest of them",
        )
        .goal(Goal::AtMost(2.0 * 1.048_576)),
    );
    report.add(Figure::new(
        "range.console.frames",
        "frames",
        frames,
        "data frames of each; stored are ten a second",
    ));
}

/// Each site lives for five ticks after its turn.
fn frame(session: SessionId, tick: u64) -> Result<Vec<u8>> {
    let mut writer = SectionWriter::default();
    if tick == 1 {
        writer.push(&Section::Dictionary(dictionary()))?;
    }
    let turn = |tick: u64| {
        (0..BUSY).map(move |nth| Allotment {
            stack: StackId(((tick * u64::from(BUSY) + u64::from(nth) * 7) % u64::from(SITES)) as u32),
            heap_tag: TagId(0),
            size_bytes: 64 << (nth % 8),
            rate_index: 0,
        })
    };
    let count = |tick: u64, allotment: &Allotment| 1 + (tick as u32 * 31 + allotment.stack.0) % 9;
    let births = turn(tick).map(|allotment| Birth {
        count: count(tick, &allotment),
        allotment,
    });
    let past = tick.checked_sub(5).filter(|past| *past > 0);
    let deaths = past.into_iter().flat_map(|past| {
        turn(past).map(move |allotment| Death {
            count: count(past, &allotment),
            allotment,
            age_ticks: 5,
        })
    });
    let at_ns = tick * TICK_NS;
    writer.push(&Section::Lifetimes(LifetimeTable {
        tick,
        tick_ns: TICK_NS,
        rates_bytes: vec![524_288],
        births: births.collect(),
        deaths: deaths.collect(),
        ..LifetimeTable::default()
    }))?;
    writer.push(&Section::Gauges(Gauges {
        timestamp_ns: at_ns + 1,
        values: vec![GaugeValue {
            gauge: Gauge::RSS_BYTES,
            value: (tick % 1_000) << 20,
        }],
    }))?;
    let envelope = Envelope::data(session, tick, at_ns, at_ns + TICK_NS - 1);
    Ok(encode(envelope, &writer.take())?)
}

fn dictionary() -> Dictionary {
    let names = (0..SITES).map(|site| format!("service.(*Handler).step{site}"));
    let names = ["main.main".to_owned(), "go.heap".to_owned()]
        .into_iter()
        .chain(names);
    let frame = |id: u32, function: u32| FrameDef {
        id: FrameId(id),
        function: StringId(function),
        file: StringId(0),
        line: id,
        inlined: false,
    };
    Dictionary {
        symbol_gen: SymbolGen(0),
        strings: (0..)
            .zip(names)
            .map(|(id, text)| StringDef {
                id: StringId(id),
                text,
            })
            .collect(),
        frames: std::iter::once(frame(0, 0))
            .chain((0..SITES).map(|site| frame(site + 1, site + 2)))
            .collect(),
        stacks: (0..SITES)
            .map(|site| StackDef {
                id: StackId(site),
                stack_trace_hash: u64::from(site) << 32 | 1,
                frames: vec![FrameId(site + 1), FrameId(0)],
                truncated: false,
            })
            .collect(),
        tags: vec![TagDef {
            id: TagId(0),
            name: StringId(1),
        }],
    }
}

/// Waits until nothing is added to the levels any more; returns how many parts there are. One part of 64 MiB of frames
/// can take many seconds.
fn until_sealed(address: SocketAddr) -> Result<u64> {
    const CALM: Duration = Duration::from_secs(60);
    let mut parts = 0;
    let mut since = Instant::now();
    while since.elapsed() < CALM {
        pass(Duration::from_secs(1));
        let text = body(address, "/metrics")?;
        let line = text
            .lines()
            .find(|line| line.starts_with("heaptide_hub_level_parts"));
        let now: f64 = line
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .context("the hub's metrics have no level parts")?;
        if now as u64 != parts {
            parts = now as u64;
            since = Instant::now();
        }
    }
    Ok(parts)
}

fn body(address: SocketAddr, path: &str) -> Result<String> {
    let answer = answer(address, path)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Bytes of the answer, which must be a good one.
fn get(address: SocketAddr, path: &str) -> Result<usize> {
    let answer = answer(address, path)?;
    if !answer.starts_with(b"HTTP/1.1 200") {
        bail!(
            "{path}: {}",
            String::from_utf8_lossy(&answer[..answer.len().min(300)])
        );
    }
    Ok(answer.len())
}

fn answer(address: SocketAddr, path: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: application/x-postcard\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}
