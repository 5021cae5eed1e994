//! A real session: a Go program watched with every sample as an event row, and the frames that its hub then
//! has on disk, which are the bytes that came over the wire.

use crate::process::Process;
use crate::tools::{Hub, go_target, pass};
use anyhow::{Context as _, Result, bail};
use heaptide_protocol::Frame;
use heaptide_protocol::section::SectionKind;
use heaptide_protocol::varint::Reader;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// Dense enough for tens of thousands of events a second.
const OPTIONS: [&str; 4] = ["--allow-rate-write", "--all-events", "--sampling-rate", "4096"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// One goroutine, a few call sites: sizes and stacks repeat.
    Sites,
    /// A web service: a goroutine a connection, hundreds of call sites, mappings.
    Shop,
}

/// Each program is recorded once, for all benchmarks that want it.
#[derive(Debug)]
pub(crate) struct Recordings {
    length: Duration,
    taken: Vec<(Program, Rc<[Recorded]>)>,
}

/// A frame as stored.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) wire: Vec<u8>,
    /// The payload, decompressed.
    pub(crate) raw: Vec<u8>,
}

impl Program {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sites => "sites",
            Self::Shop => "shop",
        }
    }

    fn flags(self) -> &'static [&'static str] {
        match self {
            // About 50 MB/s, which at a sample every 4 KiB is 25,000 events a second.
            Self::Sites => &[
                "-windows",
                "0",
                "-workers",
                "4",
                "-window-bytes",
                "2000000",
                "-pace",
                "40ms",
            ],
            Self::Shop => &["-rps", "800"],
        }
    }
}

impl Recordings {
    pub(crate) fn new(length: Duration) -> Self {
        Self {
            length,
            taken: Vec::new(),
        }
    }

    pub(crate) fn get(&mut self, program: Program) -> Result<Rc<[Recorded]>> {
        if let Some((_, frames)) = self.taken.iter().find(|(known, _)| *known == program) {
            return Ok(Rc::clone(frames));
        }
        let frames: Rc<[Recorded]> = record(program, self.length)?.into();
        self.taken.push((program, Rc::clone(&frames)));
        Ok(frames)
    }
}

impl Recorded {
    /// The bodies of the sections of one kind.
    pub(crate) fn sections(&self, wanted: SectionKind) -> Result<Vec<&[u8]>> {
        let mut found = Vec::new();
        let mut reader = Reader::new(&self.raw, "section");
        while reader.remaining() > 0 {
            let kind = reader.byte()?;
            let length = reader.count(1)?;
            let body = reader.take(length)?;
            if kind == wanted as u8 {
                found.push(body);
            }
        }
        Ok(found)
    }
}

fn record(program: Program, length: Duration) -> Result<Vec<Recorded>> {
    let hub = Hub::start()?;
    let built = go_target(program.name(), hub.folder.path())?;
    let mut command = hub.collector("run")?;
    command.args(OPTIONS).arg("--").arg(built).args(program.flags());
    let mut run = Process::start(&mut command)?;
    run.says("watching process")?;
    if program == Program::Sites {
        run.say("go")?;
    }
    pass(length);
    match program {
        Program::Sites => run.close_stdin(),
        Program::Shop => run.interrupt_group(),
    }
    run.wait()?;
    let [session] = hub.sessions()?.try_into().ok().context("expected one session")?;
    read(&session)
}

/// All frames of a session's segments, in order. The form on disk: `hub/README.md`.
fn read(session: &Path) -> Result<Vec<Recorded>> {
    let mut segments: Vec<_> = fs::read_dir(session)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    segments.retain(|path| path.extension().is_some_and(|ending| ending == "htl"));
    segments.sort();
    let mut frames = Vec::new();
    for path in segments {
        let bytes = fs::read(&path)?;
        let mut rest = bytes.strip_prefix(b"HEAPLOG\x01").context("not a segment")?;
        while let Some((head, behind)) = rest.split_first_chunk::<16>() {
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let Some((wire, behind)) = behind.split_at_checked(length).filter(|_| length > 0) else {
                break;
            };
            let mut raw = Vec::new();
            raw.extend_from_slice(Frame::parse(wire)?.raw(&mut Vec::new())?);
            frames.push(Recorded {
                wire: wire.to_vec(),
                raw,
            });
            rest = behind;
        }
    }
    if frames.is_empty() {
        bail!("the hub has no frames in {}", session.display());
    }
    Ok(frames)
}
