//! Events decoded a second: natively on this thread, and in a dedicated worker of Chromium, from the same
//! recorded ticks; beside them one postcard struct an event.

use crate::browser;
use crate::record::{Program, Recorded, Recordings};
use crate::report::{Figure, Goal, Report, short};
use crate::sys::thread_cpu_ns;
use crate::tools::variable;
use anyhow::{Context as _, Result};
use heaptide_bench_decode::{Corpus, Work, pack};
use heaptide_protocol::frame::encode;
use heaptide_protocol::section::SectionKind;
use heaptide_protocol::{Compression, Envelope, Frame, SessionId};

/// A batch with fewer events is of a second in which the program slept.
const MIN_EVENTS: usize = 100;

/// Millions of events a second, a value a round, in the order of [`Work::ALL`].
type Rates = [Vec<f64>; 4];

pub(crate) fn measure(quick: bool, recordings: &mut Recordings, report: &mut Report) -> Result<()> {
    let rounds = if quick { 5 } else { 40 };
    for program in [Program::Sites, Program::Shop] {
        let frames = recordings.get(program)?;
        let file = corpus_file(&frames)?;
        let mut corpus = Corpus::read(&file).context("a corpus that does not read")?;
        let what = format!(
            "{}, {} events in {} ticks, {} B/event as rows",
            program.name(),
            corpus.events(),
            corpus.batches(),
            short(corpus.row_bytes() as f64 / corpus.events() as f64)
        );
        native(program, &mut corpus, rounds, &what, report);
        wasm(program, &file, corpus.events(), rounds, &what, report)?;
    }
    Ok(())
}

fn native(program: Program, corpus: &mut Corpus, rounds: usize, what: &str, report: &mut Report) {
    let mut rates = Rates::default();
    for _ in 0..rounds {
        for (work, rates) in Work::ALL.into_iter().zip(&mut rates) {
            let before = thread_cpu_ns();
            corpus.run(work);
            let spent_ns = thread_cpu_ns() - before;
            rates.push(corpus.events() as f64 * 1e3 / spent_ns as f64);
        }
    }
    let names = match program {
        Program::Sites => [
            "native.sites.columns",
            "native.sites.postcard",
            "native.sites.zstd",
            "native.sites.both",
        ],
        Program::Shop => [
            "native.shop.columns",
            "native.shop.postcard",
            "native.shop.zstd",
            "native.shop.both",
        ],
    };
    add(
        names,
        &rates,
        &format!("by the thread's CPU clock; {what}"),
        None,
        report,
    );
}

fn wasm(
    program: Program,
    file: &[u8],
    events: usize,
    rounds: usize,
    what: &str,
    report: &mut Report,
) -> Result<()> {
    let module = match variable("HEAPTIDE_BENCH_WASM") {
        Ok(path) => std::fs::read(path)?,
        Err(error) => {
            report.note(format!(
                "SKIPPED: decoding in WASM: {error}; `cargo xtask bench` builds it"
            ));
            return Ok(());
        }
    };
    let Some(chromium) = variable("HEAPTIDE_CHROMIUM").ok() else {
        report.note("SKIPPED: decoding in WASM: no Chromium; `cargo xtask setup` installs it");
        return Ok(());
    };
    let measured = browser::run(&chromium, &module, file, rounds)?;
    let mut rates = Rates::default();
    for (milliseconds, rates) in measured.iter().zip(&mut rates) {
        rates.extend(milliseconds.iter().map(|spent| events as f64 / 1e3 / spent));
    }
    let names = match program {
        Program::Sites => [
            "wasm.sites.columns",
            "wasm.sites.postcard",
            "wasm.sites.zstd",
            "wasm.sites.both",
        ],
        Program::Shop => [
            "wasm.shop.columns",
            "wasm.shop.postcard",
            "wasm.shop.zstd",
            "wasm.shop.both",
        ],
    };
    let how = format!("in a worker of Chromium by performance.now(), profile `wasm`; {what}");
    add(names, &rates, &how, Some(Goal::AtLeast(60.0)), report);
    Ok(())
}

fn add(names: [&'static str; 4], rates: &Rates, how: &str, goal: Option<Goal>, report: &mut Report) {
    let methods = [
        format!("raw event sections to columns in memory, {how}"),
        "the peer: the same events as one postcard struct each, to a Vec of structs; interleaved".to_owned(),
        "payloads of the same sections from zstd (ruzstd) to raw bytes; interleaved".to_owned(),
        "from zstd to columns; interleaved".to_owned(),
    ];
    for (at, (name, method)) in names.into_iter().zip(methods).enumerate() {
        let figure = Figure::new(name, "M events/s", &rates[at], &method);
        report.add(match goal {
            Some(goal) if at == 0 => figure.goal(goal),
            _ => figure,
        });
    }
}

/// Each tick's event section, raw and as a frame would have it.
fn corpus_file(frames: &[Recorded]) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    for frame in frames {
        for raw in frame.sections(SectionKind::Events)? {
            if raw.len() < MIN_EVENTS * 3 {
                continue;
            }
            let message = encode(Envelope::data(SessionId::default(), 1, 0, 0), raw)?;
            let parsed = Frame::parse(&message)?;
            if parsed.envelope.compression == Compression::Zstd {
                pack(&mut file, raw, parsed.payload);
            }
        }
    }
    Ok(file)
}
