//! A session of ticks of which every sum is known.

use heaptide_protocol::dictionary::{Dictionary, FrameDef, StackDef, StringDef, TagDef};
use heaptide_protocol::frame::encode;
use heaptide_protocol::gauges::{Gauge, GaugeValue, Gauges};
use heaptide_protocol::lifetimes::{Allotment, Birth, Death, LifetimeTable};
use heaptide_protocol::section::{Section, SectionWriter};
use heaptide_protocol::{Envelope, FrameId, SessionId, StackId, StringId, SymbolGen, TagId};

pub const TICK_NS: u64 = 100_000_000;
pub const SITES: u32 = 3;

/// Site `n` allocates `n + 1` objects of 1000 bytes in each tick and frees those of five ticks before, so that
/// five ticks' worth is live. The first frame says the names.
pub fn frame(id: SessionId, seq: u64) -> Vec<u8> {
    let mut writer = SectionWriter::default();
    if seq == 1 {
        let texts = ["main.main", "go.heap", "main.site0", "main.site1", "main.site2"];
        let frame = |id: u32, function: u32| FrameDef {
            id: FrameId(id),
            function: StringId(function),
            file: StringId(0),
            line: 1,
            inlined: false,
        };
        let stack = |site: u32| StackDef {
            id: StackId(site),
            stack_trace_hash: u64::MAX - u64::from(site),
            frames: vec![FrameId(site + 1), FrameId(0)],
            truncated: false,
        };
        let dictionary = Dictionary {
            symbol_gen: SymbolGen(0),
            strings: (0..)
                .zip(texts)
                .map(|(id, text)| StringDef {
                    id: StringId(id),
                    text: text.to_owned(),
                })
                .collect(),
            frames: [frame(0, 0)]
                .into_iter()
                .chain((0..SITES).map(|site| frame(site + 1, site + 2)))
                .collect(),
            stacks: (0..SITES).map(stack).collect(),
            tags: vec![TagDef {
                id: TagId(0),
                name: StringId(1),
            }],
        };
        writer.push(&Section::Dictionary(dictionary)).unwrap();
    }
    let allotment = |site: u32| Allotment {
        stack: StackId(site),
        heap_tag: TagId(0),
        size_bytes: 1000,
        rate_index: 0,
    };
    let births = (0..SITES).map(|site| Birth {
        allotment: allotment(site),
        count: site + 1,
    });
    let deaths = (0..SITES).map(|site| Death {
        allotment: allotment(site),
        age_ticks: 5,
        count: site + 1,
    });
    let table = LifetimeTable {
        tick: seq,
        tick_ns: TICK_NS,
        rates_bytes: vec![1],
        births: births.collect(),
        deaths: deaths.filter(|_| seq > 5).collect(),
        ..LifetimeTable::default()
    };
    writer.push(&Section::Lifetimes(table)).unwrap();
    let gauges = Gauges {
        timestamp_ns: seq * TICK_NS + 1,
        values: vec![GaugeValue {
            gauge: Gauge::RSS_BYTES,
            value: seq << 20,
        }],
    };
    writer.push(&Section::Gauges(gauges)).unwrap();
    let at = seq * TICK_NS;
    encode(Envelope::data(id, seq, at, at + TICK_NS - 1), &writer.take()).unwrap()
}
