//! Reads all of a session's folder against its checksums, and repairs what a start of the hub would not.
//!
//! Repair takes bad bytes out of a segment and puts them aside; good records stay where they are. Only the torn
//! end of the last segment goes as a whole, as at a start: nothing of it was acknowledged, and its collector
//! sends it again.

use super::index::Segment;
use super::meta::{self, Meta, sync_folder};
use super::record::{SEGMENT_HEAD, SegmentName, parse_segment_name};
use super::recover::head_is_good;
use super::segment::{SegmentReader, Step};
use heaptide_protocol::SessionId;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

const TEMPORARY_NAME: &str = "repair.tmp";

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Path below the data folder.
    pub file: String,
    /// Offsets in the file; equal if it is about the file as a whole.
    pub from_byte: u64,
    pub to_byte: u64,
    /// A sentence about what is wrong.
    pub what: String,
    /// What a repair does, or did; `None` where there is nothing to be done.
    pub remedy: Option<String>,
}

/// What was read of a session.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    pub(crate) segments: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) findings: Vec<Finding>,
}

/// One segment, read through.
struct Scan {
    bytes: u64,
    head_is_good: bool,
    records: u64,
    last_seq: u64,
    /// What later records prove to have been durable.
    synced_seq: u64,
    /// Stretch, and the last good sequence number before it.
    bad: Vec<(u64, u64, u64)>,
}

/// `put_aside` names a folder for what a repair takes out; without it nothing is changed. Nobody else may use the
/// folder meanwhile.
pub(crate) fn check(folder: &Path, session: SessionId, put_aside: Option<&Path>) -> io::Result<Checked> {
    let mut checked = Checked::default();
    let place = |name: &str| format!("sessions/{session}/{name}");
    let mut names: Vec<(SegmentName, String)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(parsed) = parse_segment_name(&name) {
            names.push((parsed, name));
        }
    }
    names.sort_unstable_by_key(|(name, _)| name.base_seq);
    let loaded = Meta::load(folder, session);
    if let Err(error) = &loaded {
        let missing_and_empty = error.kind() == io::ErrorKind::NotFound && names.is_empty();
        if !missing_and_empty {
            checked.findings.push(Finding {
                file: place(meta::NAME),
                from_byte: 0,
                to_byte: 0,
                what: format!("what the session is about can't be read ({error})"),
                remedy: Some("is put aside; the session stays readable, without its description".to_owned()),
            });
            if let Some(aside) = put_aside {
                move_aside(folder, meta::NAME, aside)?;
            }
        }
    }
    let mut meta = loaded.ok();
    let mut changed = false;
    let mut durable_seq = 0;
    for (at, (parsed, name)) in names.iter().enumerate() {
        let path = folder.join(name);
        let listed = meta
            .iter()
            .flat_map(|meta| &meta.sealed)
            .find(|segment| segment.file_name() == *name)
            .cloned();
        let is_last = at + 1 == names.len();
        let scan = match head_is_good(&path) {
            Ok(good) => scan(&path, session, parsed.base_seq, good)?,
            Err(newer) => {
                checked.findings.push(Finding {
                    file: place(name),
                    from_byte: 0,
                    to_byte: SEGMENT_HEAD.len() as u64,
                    what: newer.to_string(),
                    remedy: None,
                });
                continue;
            }
        };
        checked.segments += 1;
        checked.records += scan.records;
        checked.bytes += scan.bytes;
        durable_seq = durable_seq.max(scan.last_seq);
        let (findings, cut_at) = scan.findings(&place(name), listed.as_ref(), is_last);
        if let (false, Some(aside)) = (findings.is_empty(), put_aside) {
            rewrite(&path, &scan, cut_at, aside)?;
            let bytes = fs::metadata(&path)?.len();
            for segment in meta.iter_mut().flat_map(|meta| &mut meta.sealed) {
                if segment.file_name() == *name {
                    segment.bytes = bytes;
                    segment.frames = scan.records;
                    changed = true;
                }
            }
        }
        checked.findings.extend(findings);
    }
    if let Some(meta) = &mut meta
        && meta.durable_seq > durable_seq
    {
        checked.findings.push(Finding {
            file: place(names.last().map_or("", |(_, name)| name.as_str())),
            from_byte: 0,
            to_byte: 0,
            what: format!(
                "frames {} to {} were acknowledged and are not there",
                durable_seq + 1,
                meta.durable_seq
            ),
            remedy: Some(
                "what is there is kept; the collector sends the rest again if it still has it".to_owned(),
            ),
        });
        meta.durable_seq = durable_seq;
        changed = true;
    }
    if let (true, true, Some(meta)) = (changed, put_aside.is_some(), &meta) {
        meta.save(folder)?;
    }
    Ok(checked)
}

fn scan(path: &Path, session: SessionId, base_seq: u64, head_is_good: bool) -> io::Result<Scan> {
    let bytes = fs::metadata(path)?.len();
    let mut reader = SegmentReader::new(File::open(path)?, session, SEGMENT_HEAD.len() as u64, bytes);
    let mut scan = Scan {
        bytes,
        head_is_good,
        records: 0,
        last_seq: base_seq.saturating_sub(1),
        synced_seq: 0,
        bad: Vec::new(),
    };
    loop {
        match reader.step()? {
            Step::End => return Ok(scan),
            Step::Bad { from, to } => scan.bad.push((from, to, scan.last_seq)),
            Step::Record(record) => {
                let seq = record.envelope.seq;
                scan.records += 1;
                scan.last_seq = scan.last_seq.max(seq);
                scan.synced_seq = scan.synced_seq.max(record.synced_seq);
            }
        }
    }
}

impl Scan {
    /// And where to cut: everything from there on was never acknowledged.
    fn findings(&self, file: &str, listed: Option<&Segment>, is_last: bool) -> (Vec<Finding>, Option<u64>) {
        let finding = |from_byte, to_byte, what: String, remedy: Option<&str>| Finding {
            file: file.to_owned(),
            from_byte,
            to_byte,
            what,
            remedy: remedy.map(str::to_owned),
        };
        let mut findings = Vec::new();
        if !self.head_is_good {
            let end = (SEGMENT_HEAD.len() as u64).min(self.bytes);
            let remedy = Some("the file is written anew with its good records");
            findings.push(finding(
                0,
                end,
                "the file's first bytes are damaged".to_owned(),
                remedy,
            ));
        }
        let torn = is_last
            .then(|| self.bad.iter().find(|(.., after)| *after >= self.synced_seq))
            .flatten();
        let cut_at = torn.map(|(from, ..)| *from);
        for (from, to, after) in &self.bad {
            let (what, remedy) = if cut_at == Some(*from) {
                (
                    format!("a torn end after frame {after}"),
                    "everything from here on is put aside",
                )
            } else {
                (format!("damage after frame {after}"), "these bytes are put aside")
            };
            findings.push(finding(*from, *to, what, Some(remedy)));
        }
        if let Some(listed) = listed.filter(|listed| self.bytes < listed.bytes && self.bad.is_empty()) {
            let what = format!("the file is cut off after frame {}", self.last_seq);
            let remedy = Some("what is left is kept");
            findings.push(finding(self.bytes, listed.bytes, what, remedy));
        }
        (findings, cut_at)
    }
}

/// Writes the file anew without its bad bytes, which are put aside first.
fn rewrite(path: &Path, scan: &Scan, cut_at: Option<u64>, aside: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    fs::create_dir_all(aside)?;
    let mut source = File::open(path)?;
    let end = cut_at.unwrap_or(scan.bytes);
    let mut bad: Vec<(u64, u64)> = scan.bad.iter().map(|(from, to, _)| (*from, *to)).collect();
    bad.retain(|(from, _)| *from < end);
    if end < scan.bytes {
        bad.push((end, scan.bytes));
    }
    if !scan.head_is_good {
        bad.insert(0, (0, (SEGMENT_HEAD.len() as u64).min(scan.bytes)));
    }
    for (from, to) in &bad {
        let mut file = File::create(aside.join(format!("{name}.{from}-{to}")))?;
        copy(&mut source, *from, *to, &mut file)?;
        file.sync_all()?;
    }
    sync_folder(aside)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = folder.join(TEMPORARY_NAME);
    let mut file = File::create(&temporary)?;
    file.write_all(&SEGMENT_HEAD)?;
    let mut good_from = SEGMENT_HEAD.len() as u64;
    for (from, to) in bad.iter().copied().chain([(end, end)]) {
        copy(&mut source, good_from, from.max(good_from).min(end), &mut file)?;
        good_from = good_from.max(to);
    }
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder(folder)
}

fn copy(source: &mut File, from: u64, to: u64, target: &mut File) -> io::Result<()> {
    source.seek(SeekFrom::Start(from))?;
    io::copy(&mut source.take(to.saturating_sub(from)), target)?;
    Ok(())
}

/// A file that is not there needs no moving.
pub(crate) fn move_aside(folder: &Path, name: &str, aside: &Path) -> io::Result<()> {
    fs::create_dir_all(aside)?;
    match fs::rename(folder.join(name), aside.join(name)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => sync_folder(folder),
    }
}
