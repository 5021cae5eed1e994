//! Bytes an event on the wire, of a real session: its event sections raw and compressed, and all of it.

use crate::record::{Program, Recorded, Recordings};
use crate::report::{Figure, Goal, Report, short, table};
use anyhow::{Context as _, Result};
use heaptide_protocol::events::EventBatch;
use heaptide_protocol::frame::encode;
use heaptide_protocol::section::SectionKind;
use heaptide_protocol::varint;
use heaptide_protocol::{Envelope, Frame};

/// Bytes by part, over one stretch of the session.
#[derive(Debug, Default, Clone, Copy)]
struct Sums {
    events: usize,
    raw_bytes: usize,
    compressed_bytes: usize,
    wire_bytes: usize,
}

pub(crate) fn measure(recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    for program in [Program::Sites, Program::Shop] {
        figures(program, &recordings.get(program)?, report)?;
    }
    Ok(())
}

/// A round is a second of the session: ten ticks, each a frame as it was sent.
fn figures(program: Program, frames: &[Recorded], report: &mut Report) -> Result<()> {
    const ROUND: usize = 10;
    let mut rounds = Vec::new();
    let mut total = Sums::default();
    for ticks in frames.chunks(ROUND) {
        let sums = sum(ticks)?;
        total.events += sums.events;
        total.raw_bytes += sums.raw_bytes;
        total.compressed_bytes += sums.compressed_bytes;
        total.wire_bytes += sums.wire_bytes;
        // A second without load says nothing about the cost of an event.
        if sums.events >= 1_000 {
            rounds.push(sums);
        }
    }
    let per_event = |part: fn(&Sums) -> usize| -> Vec<f64> {
        let of = |sums: &Sums| part(sums) as f64 / sums.events as f64;
        rounds.iter().map(of).collect()
    };
    let rate = short(total.events as f64 / (rounds.len() as f64));
    let ticks = rounds.len() * ROUND;
    let what = format!(
        "{}, {} events at {rate} a second, {ticks} frames of 100 ms; a round is a second",
        program.name(),
        total.events
    );
    let (raw, compressed, whole) = match program {
        Program::Sites => ("wire.sites.raw", "wire.sites.compressed", "wire.sites.stream"),
        Program::Shop => ("wire.shop.raw", "wire.shop.compressed", "wire.shop.stream"),
    };
    report.add(
        Figure::new(
            raw,
            "B/event",
            &per_event(|sums| sums.raw_bytes),
            &format!("event sections before compression ({what})"),
        )
        .goal(Goal::AtMost(7.0)),
    );
    report.add(
        Figure::new(
            compressed,
            "B/event",
            &per_event(|sums| sums.compressed_bytes),
            "the same, each tick as a frame of its own by heaptide_protocol::frame::encode, frame head included",
        )
        .goal(Goal::AtMost(4.0)),
    );
    report.add(Figure::new(
        whole,
        "B/event",
        &per_event(|sums| sums.wire_bytes),
        "all stored frames as sent: with dictionaries, lifetime rows, gauges, losses",
    ));
    report.note(columns(program, frames)?);
    Ok(())
}

fn sum(frames: &[Recorded]) -> Result<Sums> {
    let mut sums = Sums::default();
    for frame in frames {
        sums.wire_bytes += frame.wire.len();
        let envelope = Frame::parse(&frame.wire)?.envelope;
        let mut payload = Vec::new();
        for body in frame.sections(SectionKind::Events)? {
            sums.events += EventBatch::decode(body)?.len();
            sums.raw_bytes += body.len();
            payload.push(SectionKind::Events as u8);
            varint::put(&mut payload, body.len() as u64);
            payload.extend_from_slice(body);
        }
        if !payload.is_empty() {
            let alone = Envelope::data(
                envelope.session,
                envelope.seq,
                envelope.first_ns,
                envelope.last_ns,
            );
            sums.compressed_bytes += encode(alone, &payload)?.len();
        }
    }
    Ok(sums)
}

/// Which column takes what, raw.
fn columns(program: Program, frames: &[Recorded]) -> Result<String> {
    let mut sums: Vec<(&'static str, usize)> = Vec::new();
    let mut events = 0;
    for frame in frames {
        for body in frame.sections(SectionKind::Events)? {
            let batch = EventBatch::decode(body)?;
            events += batch.len();
            let (mut bytes, mut last) = (Vec::new(), 0);
            batch.encode_columns(&mut bytes, |name, end| {
                match sums.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum += end - last,
                    None => sums.push((name, end - last)),
                }
                last = end;
            });
        }
    }
    let events = u32::try_from(events)
        .ok()
        .filter(|events| *events > 0)
        .context("no events")?;
    let mut rows = vec![["column".to_owned(), String::new(), "B/event, raw".to_owned()]];
    for (name, bytes) in sums {
        rows.push([
            name.to_owned(),
            String::new(),
            short(bytes as f64 / f64::from(events)),
        ]);
    }
    Ok(format!("event columns of {}:\n{}", program.name(), table(&rows)))
}
