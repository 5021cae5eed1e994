//! `heaptide report`, `export` and `diff`: recordings from disk, and what the library makes of them.

use crate::args::{
    DiffMetricArg, DiffOptions, ExportOptions, FormatArg, KindArg, MetricArg, ReportOptions, SpanOptions,
};
use crate::sentences;
use anyhow::Context as _;
use heaptide_recording::{
    Condition, Diff, DiffMetric, DiffQuery, ExportQuery, Format, Kind, Metric, Reader, Recording, Side,
    TellQuery, Window,
};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A `--fail-if` is met.
const CONDITION_MET: u8 = 2;
const PIECE_BYTES: usize = 1 << 20;

pub(crate) fn report(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let recording = open(&options.file)?;
    let query = TellQuery {
        kinds: options
            .kinds
            .iter()
            .flat_map(|kind| kinds(*kind))
            .copied()
            .collect(),
        metric: options.metric.into(),
        window: span(&recording, &options.span)?,
        filter: options.filter.clone(),
        limit: options.limit,
        stacks: options.stacks,
    };
    let told = recording.tell(&query);
    if options.json {
        print(&format!("{:#}\n", told.json()))?;
    } else {
        print(&told.text())?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn export(options: &ExportOptions) -> anyhow::Result<ExitCode> {
    let recording = open(&options.file)?;
    for flaw in recording.flaws() {
        sentences::warning(&format!("{}: not whole: {flaw}", options.file.display()));
    }
    let query = ExportQuery {
        format: options.format.into(),
        metric: options.metric.into(),
        window: span(&recording, &options.span)?,
    };
    let bytes = heaptide_recording::export(&recording, &query)?;
    if options.output == Path::new("-") {
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes).and_then(|()| out.flush())?;
    } else {
        std::fs::write(&options.output, &bytes)
            .with_context(|| format!("can't write {}", options.output.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn diff(options: &DiffOptions) -> anyhow::Result<ExitCode> {
    let conditions = options
        .fail_if
        .iter()
        .map(|text| Condition::parse(text))
        .collect::<Result<_, _>>()?;
    let (before, after) = (open(&options.before)?, open(&options.after)?);
    let side = |recording| -> anyhow::Result<Side<'_>> {
        Ok(Side {
            recording,
            window: span(recording, &options.span)?,
        })
    };
    let query = DiffQuery {
        metric: options.metric.into(),
        conditions,
        limit: options.limit,
    };
    let diff = Diff::new(side(&before)?, side(&after)?, &query);
    if options.json {
        print(&format!("{:#}\n", diff.json()))?;
    } else {
        print(&diff.text())?;
    }
    if let Some((condition, why)) = diff.unknown().next() {
        anyhow::bail!("condition {condition:?} can't be judged: {why}");
    }
    Ok(if diff.is_failed() {
        ExitCode::from(CONDITION_MET)
    } else {
        ExitCode::SUCCESS
    })
}

fn span(recording: &Recording, options: &SpanOptions) -> anyhow::Result<Window> {
    Ok(recording.window(options.from, options.to)?)
}

/// A recording, or a folder with a session's segments.
fn open(path: &Path) -> anyhow::Result<Recording> {
    read(path).with_context(|| format!("can't read {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<Recording> {
    let mut reader = Reader::new();
    let mut piece = vec![0; PIECE_BYTES];
    for path in files(path)? {
        let mut file = File::open(&path)?;
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => reader.push(&piece[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        reader.end_of_file()?;
    }
    Ok(reader.finish()?)
}

/// The file itself; of a folder, its segments, whose names are in order.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "htl") {
            files.push(file);
        }
    }
    files.sort();
    anyhow::ensure!(!files.is_empty(), "it is a folder without segments (*.htl)");
    Ok(files)
}

/// A reader that has seen enough, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    match sentences::text(text) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

impl From<MetricArg> for Metric {
    fn from(metric: MetricArg) -> Self {
        match metric {
            MetricArg::Live => Self::Live,
            MetricArg::Kept => Self::Kept,
            MetricArg::Allocated => Self::Allocated,
            MetricArg::Freed => Self::Freed,
        }
    }
}

impl From<DiffMetricArg> for DiffMetric {
    fn from(metric: DiffMetricArg) -> Self {
        match metric {
            DiffMetricArg::Live => Self::Live,
            DiffMetricArg::Allocated => Self::Allocated,
            DiffMetricArg::AllocatedPerSecond => Self::AllocatedPerSecond,
        }
    }
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Self {
        match format {
            FormatArg::Pprof => Self::Pprof,
            FormatArg::Collapsed => Self::Collapsed,
            FormatArg::Firefox => Self::Firefox,
        }
    }
}

fn kinds(kind: KindArg) -> &'static [Kind] {
    match kind {
        KindArg::Heap => &[Kind::Heap],
        KindArg::Goroutines => &[Kind::Goroutines],
        KindArg::Pauses => &[Kind::Pauses],
        KindArg::Mappings => &[Kind::Mappings],
        KindArg::Ledger => &[Kind::Ledger],
        KindArg::Drift => &[Kind::Drift],
        KindArg::Exact => &[Kind::Exact],
        KindArg::All => &Kind::ALL,
    }
}
