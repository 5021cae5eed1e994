//! What a stretch of frames that is about to be deleted leaves behind: its dictionaries, and what it changed in
//! sum, as frames of the same kind. A reader who starts behind the stretch then knows every name and every
//! object that was live; when exactly things happened in between is gone, and so are single events.

use crate::AnalysisError;
use crate::lifetimes::Site;
use crate::steps::{allotment, site};
use heaptide_protocol::control::PolicyResult;
use heaptide_protocol::dictionary::Dictionary;
use heaptide_protocol::frame::encode;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Birth, Death, LifetimeTable};
use heaptide_protocol::loss::LossReport;
use heaptide_protocol::section::{Section, SectionWriter, Sections, SessionStart};
use heaptide_protocol::{Envelope, Frame, ProtocolError, SessionId, StackId, SymbolGen, TagId};
use std::collections::BTreeMap;

/// A frame of these stays well below the protocol's limit, also uncompressed.
const FRAME_BYTES: usize = 512 << 10;
const FRAME_ROWS: usize = 16 << 10;
/// No name is longer, unless somebody means harm.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// Takes frames in their order.
#[derive(Debug, Default)]
pub struct Summary {
    start: Option<SessionStart>,
    dictionaries: BTreeMap<SymbolGen, Dictionary>,
    /// Born in the stretch and not dead at its end, by the symbols of their birth.
    births: BTreeMap<(SymbolGen, Site), i64>,
    /// Dead in the stretch and born before it, by the tick of birth.
    deaths: BTreeMap<(Site, u64), i64>,
    /// First tick of each generation.
    generations: Vec<(SymbolGen, u64)>,
    last_tick: u64,
    tick_ns: u64,
    newest_ns: u64,
    gauges: BTreeMap<Gauge, u64>,
    gauges_ns: u64,
    loss: Option<LossReport>,
    last_ns: u64,
    /// Frames that could not be decoded to their end.
    pub damaged_frames: u64,
}

/// Frames with consecutive sequence numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SummaryFrames {
    pub base_seq: u64,
    /// From this number on they hold sums over the whole stretch; before it, what can be told twice.
    pub sums_from_seq: u64,
    /// Of the last frame that they stand for, and the time of each of these.
    pub last_ns: u64,
    pub frames: Vec<Vec<u8>>,
}

impl Summary {
    pub fn apply(&mut self, frame: &Frame<'_>) {
        self.last_ns = self.last_ns.max(frame.envelope.last_ns);
        let mut scratch = Vec::new();
        let done = frame.raw(&mut scratch).and_then(|raw| {
            for section in Sections::new(raw) {
                self.apply_section(section?);
            }
            Ok(())
        });
        self.damaged_frames += u64::from(done.is_err());
    }

    fn apply_section(&mut self, section: Section) {
        match section {
            Section::Start(start) => self.start = Some(start),
            Section::Dictionary(dictionary) => {
                let all = self
                    .dictionaries
                    .entry(dictionary.symbol_gen)
                    .or_insert_with(|| Dictionary {
                        symbol_gen: dictionary.symbol_gen,
                        ..Dictionary::default()
                    });
                all.strings.extend(dictionary.strings);
                all.frames.extend(dictionary.frames);
                all.stacks.extend(dictionary.stacks);
                all.tags.extend(dictionary.tags);
            }
            Section::Lifetimes(table) => self.apply_lifetimes(&table),
            Section::Gauges(gauges) => {
                self.gauges_ns = gauges.timestamp_ns;
                let values = gauges.values.iter().map(|value| (value.gauge, value.value));
                self.gauges.extend(values);
            }
            Section::Loss(loss) => self.loss = Some(loss),
            Section::PolicyOutcome(outcome) => {
                if let (Some(start), PolicyResult::Applied { policy, .. }) = (&mut self.start, outcome.result)
                {
                    start.policy = policy;
                }
            }
            _ => {}
        }
    }

    fn apply_lifetimes(&mut self, table: &LifetimeTable) {
        if self
            .generations
            .last()
            .is_none_or(|(newest, _)| *newest < table.symbol_gen)
        {
            self.generations.push((table.symbol_gen, table.tick));
        }
        self.tick_ns = table.tick_ns;
        self.last_tick = self.last_tick.max(table.tick);
        self.newest_ns = self.newest_ns.max(table.newest_ns);
        let first_tick = self.generations.first().map_or(0, |(_, tick)| *tick);
        for row in &table.births {
            let Some(site) = site(table, &row.allotment) else {
                continue;
            };
            *self.births.entry((table.symbol_gen, site)).or_default() += i64::from(row.count);
        }
        for row in &table.deaths {
            let Some(site) = site(table, &row.allotment) else {
                continue;
            };
            let born = table.tick.saturating_sub(u64::from(row.age_ticks));
            // An earlier summary has its births in its first tick, whenever they really were.
            let generation = self.generation_at(born.max(first_tick));
            let known = self.births.get_mut(&(generation, site));
            match known {
                Some(count) if *count >= i64::from(row.count) => *count -= i64::from(row.count),
                _ => *self.deaths.entry((site, born)).or_default() += i64::from(row.count),
            }
        }
    }

    fn generation_at(&self, tick: u64) -> SymbolGen {
        let newer = self.generations.partition_point(|(_, since)| *since <= tick);
        let at = newer.saturating_sub(1);
        self.generations
            .get(at)
            .map_or(SymbolGen(0), |(generation, _)| *generation)
    }

    /// The frames that stand for `from_seq..=last_seq`. An error if they would be more than those.
    pub fn finish(
        mut self,
        session: SessionId,
        from_seq: u64,
        last_seq: u64,
    ) -> Result<SummaryFrames, AnalysisError> {
        let last_ns = self.last_ns;
        let mut names = self.names()?;
        let mut sums = self.sums()?;
        if let ([name], [sum]) = (names.as_mut_slice(), sums.as_slice())
            && last_seq == from_seq
        {
            // Sections follow one another, so one frame takes the place of one.
            name.extend_from_slice(sum);
            sums = std::mem::take(&mut names);
        }
        let count = (names.len() + sums.len()) as u64;
        let base_seq = (last_seq + 1).saturating_sub(count);
        if base_seq < from_seq || base_seq == 0 {
            return Err(AnalysisError::SummaryTooLong {
                frames: count,
                room: last_seq - from_seq + 1,
            });
        }
        let frames = names
            .iter()
            .chain(&sums)
            .zip(base_seq..)
            .map(|(payload, seq)| encode(Envelope::data(session, seq, last_ns, last_ns), payload))
            .collect::<Result<_, _>>()?;
        Ok(SummaryFrames {
            base_seq,
            sums_from_seq: base_seq + names.len() as u64,
            last_ns,
            frames,
        })
    }

    /// Payloads of what the session is, and of all definitions.
    fn names(&mut self) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut writer = SectionWriter::default();
        let mut payloads = Vec::new();
        if let Some(mut start) = self.start.take() {
            // The time line begins where the stretch ends; the same instant as before, told by both clocks.
            let clock = &mut start.signature.clock;
            let passed_ns = self.last_ns.saturating_sub(clock.session_ns);
            clock.session_ns += passed_ns;
            clock.unix_ns = clock.unix_ns.saturating_add(passed_ns);
            writer.push(&Section::Start(start))?;
        }
        for (symbol_gen, all) in std::mem::take(&mut self.dictionaries) {
            for part in split(symbol_gen, all) {
                writer.push(&Section::Dictionary(part))?;
                if writer.len() >= FRAME_BYTES {
                    payloads.push(writer.take());
                }
            }
        }
        if !writer.is_empty() {
            payloads.push(writer.take());
        }
        Ok(payloads)
    }

    fn sums(&self) -> Result<Vec<Vec<u8>>, ProtocolError> {
        let mut writer = SectionWriter::default();
        let mut payloads = Vec::new();
        let mut tables: Vec<LifetimeTable> = Vec::new();
        for (symbol_gen, tick) in &self.generations {
            let empty = || self.table(*symbol_gen, *tick);
            let mut table = empty();
            let of = (*symbol_gen, FIRST)..=(*symbol_gen, LAST);
            for ((_, site), count) in self.births.range(of).filter(|(_, count)| **count > 0) {
                if table.births.len() == FRAME_ROWS {
                    tables.push(std::mem::replace(&mut table, empty()));
                }
                let allotment = allotment(&mut table, site);
                let count = u32::try_from(*count).unwrap_or(u32::MAX);
                table.births.push(Birth { allotment, count });
            }
            tables.push(table);
        }
        let newest = self
            .generations
            .last()
            .map_or(SymbolGen(0), |(newest, _)| *newest);
        let mut table = self.table(newest, self.last_tick);
        for ((site, born), count) in &self.deaths {
            if table.deaths.len() == FRAME_ROWS {
                tables.push(std::mem::replace(&mut table, self.table(newest, self.last_tick)));
            }
            let allotment = allotment(&mut table, site);
            table.deaths.push(Death {
                allotment,
                age_ticks: u32::try_from(self.last_tick - born.min(&self.last_tick)).unwrap_or(u32::MAX),
                count: u32::try_from(*count).unwrap_or(u32::MAX),
            });
        }
        tables.push(table);
        for table in tables.into_iter().filter(|table| !table.is_empty()) {
            writer.push(&Section::Lifetimes(table))?;
            if writer.len() >= FRAME_BYTES / 2 {
                payloads.push(writer.take());
            }
        }
        if !self.gauges.is_empty() {
            let values = self.gauges.iter();
            writer.push(&Section::Gauges(Gauges {
                timestamp_ns: self.gauges_ns,
                values: values
                    .map(|(gauge, value)| GaugeValue {
                        gauge: *gauge,
                        value: *value,
                    })
                    .collect(),
            }))?;
        }
        if let Some(loss) = &self.loss {
            writer.push(&Section::Loss(loss.clone()))?;
        }
        if !writer.is_empty() {
            payloads.push(writer.take());
        }
        Ok(payloads)
    }

    fn table(&self, symbol_gen: SymbolGen, tick: u64) -> LifetimeTable {
        LifetimeTable {
            symbol_gen,
            tick,
            tick_ns: self.tick_ns,
            newest_ns: self.newest_ns,
            ..LifetimeTable::default()
        }
    }
}

const FIRST: Site = Site {
    stack: StackId(0),
    heap_tag: TagId(0),
    size_bytes: 0,
    rate_bytes: 0,
};
const LAST: Site = Site {
    stack: StackId(u32::MAX),
    heap_tag: TagId(u32::MAX),
    size_bytes: u64::MAX,
    rate_bytes: u64::MAX,
};

/// In parts of bounded size, each naming only what came before it or is in it.
fn split(symbol_gen: SymbolGen, all: Dictionary) -> Vec<Dictionary> {
    let empty = || Dictionary {
        symbol_gen,
        ..Dictionary::default()
    };
    let mut parts = Vec::new();
    let mut part = empty();
    let mut bytes = 0;
    let mut room = |part: &mut Dictionary, needed: usize| {
        if bytes + needed > FRAME_BYTES / 2 && bytes > 0 {
            parts.push(std::mem::replace(part, empty()));
            bytes = 0;
        }
        bytes += needed;
    };
    for mut def in all.strings {
        if def.text.len() > MAX_TEXT_BYTES {
            let end = (0..=MAX_TEXT_BYTES)
                .rev()
                .find(|at| def.text.is_char_boundary(*at));
            def.text.truncate(end.unwrap_or(0));
        }
        room(&mut part, def.text.len() + 10);
        part.strings.push(def);
    }
    for def in all.frames {
        room(&mut part, 24);
        part.frames.push(def);
    }
    for def in all.stacks {
        room(&mut part, 24 + 5 * def.frames.len());
        part.stacks.push(def);
    }
    for def in all.tags {
        room(&mut part, 10);
        part.tags.push(def);
    }
    if !part.is_empty() {
        parts.push(part);
    }
    parts
}
