//! Exports against what the session says: the same totals, the same stacks, nothing that points nowhere.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod common;

use common::{RATE_BYTES, Tick, estimate, recording};
use heaptide_protocol::varint::Reader;
use heaptide_recording::{ExportQuery, Format, Metric, Recording, RecordingError, export};
use serde_json::Value;
use std::collections::BTreeMap;

/// 1 KiB objects leak; 256-byte ones die; some are put inside a page.
fn ticks() -> Vec<Tick> {
    (0..4)
        .map(|at| Tick {
            births: vec![(0, 1024, 5), (1, 256, 3), (2, 4096, 2), (2, 256, 1)],
            deaths: if at > 0 { vec![(1, 256, 3)] } else { Vec::new() },
            pauses_ns: Vec::new(),
        })
        .collect()
}

fn exported(recording: &Recording, format: Format, metric: Metric) -> Vec<u8> {
    let query = ExportQuery {
        format,
        metric,
        window: recording.window(None, None).unwrap(),
    };
    export(recording, &query).unwrap()
}

/// The fields of a message: number, value or bytes.
fn fields(bytes: &[u8]) -> Vec<(u64, u64, &[u8])> {
    let mut reader = Reader::new(bytes, "test");
    let mut out = Vec::new();
    while reader.remaining() > 0 {
        let tag = reader.varint().unwrap();
        match tag & 7 {
            0 => out.push((tag >> 3, reader.varint().unwrap(), &[][..])),
            2 => {
                let length = reader.varint().unwrap() as usize;
                out.push((tag >> 3, 0, reader.take(length).unwrap()));
            }
            other => panic!("wire type {other}"),
        }
    }
    out
}

fn packed(bytes: &[u8]) -> Vec<u64> {
    let mut reader = Reader::new(bytes, "test");
    let mut out = Vec::new();
    while reader.remaining() > 0 {
        out.push(reader.varint().unwrap());
    }
    out
}

/// One field's value in a message; 0 if it is left out.
fn number(message: &[u8], field: u64) -> u64 {
    fields(message)
        .iter()
        .find(|(number, ..)| *number == field)
        .map_or(0, |(_, value, _)| *value)
}

#[test]
fn a_pprof_profile_says_what_gos_own_would() {
    let recording = recording(&ticks());
    let gzip = exported(&recording, Format::Pprof, Metric::Live);
    let profile = miniz_oxide::inflate::decompress_to_vec(&gzip[10..gzip.len() - 8]).unwrap();
    let all = fields(&profile);
    let of = |field: u64| all.iter().filter(move |(number, ..)| *number == field);
    let strings: Vec<&str> = of(6)
        .map(|(_, _, text)| std::str::from_utf8(text).unwrap())
        .collect();
    assert_eq!(strings[0], "");
    let string = |message: &[u8], field| strings[number(message, field) as usize];

    let types: Vec<_> = of(1)
        .map(|(_, _, message)| (string(message, 1), string(message, 2)))
        .collect();
    assert_eq!(
        types,
        [
            ("alloc_objects", "count"),
            ("alloc_space", "bytes"),
            ("inuse_objects", "count"),
            ("inuse_space", "bytes")
        ]
    );
    let period_type = of(11).next().unwrap().2;
    assert_eq!(
        (string(period_type, 1), string(period_type, 2)),
        ("space", "bytes")
    );
    assert_eq!(number(&profile, 12), RATE_BYTES);
    assert_eq!(strings[number(&profile, 14) as usize], "inuse_space");
    assert_eq!(number(&profile, 9), common::UNIX_NS);
    assert_eq!(number(&profile, 10), 400_000_000);
    let mapping = of(3).next().unwrap().2;
    assert_eq!((string(mapping, 5), string(mapping, 6)), ("/srv/shop", "c0ffee"));
    assert_eq!([7, 8, 9, 10].map(|field| number(mapping, field)), [1; 4]);
    let comments: Vec<&str> = of(13).map(|(_, id, _)| strings[*id as usize]).collect();
    assert!(comments[0].contains("sampled every 64.0 KiB"), "{comments:?}");

    // Every location's functions, leaf first.
    let functions: BTreeMap<u64, (&str, &str)> = of(5)
        .map(|(_, _, message)| (number(message, 1), (string(message, 2), string(message, 4))))
        .collect();
    let locations: BTreeMap<u64, Vec<String>> = of(4)
        .map(|(_, _, message)| {
            assert_eq!(number(message, 2), 1, "its mapping");
            let lines = fields(message).into_iter().filter(|(number, ..)| *number == 4);
            let lines = lines.map(|(_, _, line)| {
                let (function, file) = functions[&number(line, 1)];
                assert_eq!(file, "/src/main.go");
                format!("{function}:{}", number(line, 2))
            });
            (number(message, 1), lines.collect())
        })
        .collect();
    let mut samples = BTreeMap::new();
    for (_, _, message) in of(2) {
        let parts = fields(message);
        let find = |field| parts.iter().find(|(number, ..)| *number == field).unwrap().2;
        let stack: Vec<String> = packed(find(1)).iter().map(|id| locations[id].join("<")).collect();
        let label = find(3);
        assert_eq!(string(label, 1), "bytes");
        samples.insert((stack.join(" "), number(label, 3)), packed(find(2)));
    }
    let leak = "main.leak:10 main.main:30".to_owned();
    let page = "main.page:20 main.main:30".to_owned();
    let inlined = "main.put:50<main.page:20 main.main:30".to_owned();
    let expected = [
        ((leak, 1024), 20, 20),
        ((page, 256), 12, 3),
        ((inlined.clone(), 256), 4, 4),
        ((inlined, 4096), 8, 8),
    ];
    assert_eq!(samples.len(), expected.len(), "{samples:?}");
    for (key, allocated, live) in expected {
        let size = key.1;
        let rounded = |count| estimate(size, count).round() as u64;
        let objects = |count| (estimate(size, count) / size as f64).round() as u64;
        let values = [
            objects(allocated),
            rounded(allocated),
            objects(live),
            rounded(live),
        ];
        assert_eq!(samples[&key], values, "{key:?}");
    }
    let total: u64 = samples.values().map(|values| values[3]).sum();
    let headline = recording.session.headline().live.value;
    assert!((total as f64 - headline).abs() <= 2.0, "{total} {headline}");
}

#[test]
fn equal_input_gives_equal_bytes() {
    for format in [Format::Pprof, Format::Collapsed, Format::Firefox] {
        let once = exported(&recording(&ticks()), format, Metric::Live);
        assert_eq!(
            once,
            exported(&recording(&ticks()), format, Metric::Live),
            "{format:?}"
        );
    }
}

#[test]
fn a_metric_without_a_place_is_refused_with_what_to_do() {
    let recording = recording(&ticks());
    let query = ExportQuery {
        format: Format::Pprof,
        metric: Metric::Freed,
        window: recording.window(None, None).unwrap(),
    };
    let error = export(&recording, &query).unwrap_err();
    assert!(matches!(error, RecordingError::Unsupported { .. }), "{error}");
    assert!(error.to_string().contains("--format collapsed"), "{error}");
}

#[test]
fn collapsed_stacks_have_their_root_first() {
    let recording = recording(&ticks());
    let text = |metric| String::from_utf8(exported(&recording, Format::Collapsed, metric)).unwrap();
    let line = |stack: &str, bytes: f64| format!("{stack} {bytes:.0}\n");
    let expected = [
        line("main.main;main.leak", estimate(1024, 20)),
        line("main.main;main.page", estimate(256, 12)),
        line(
            "main.main;main.page;main.put",
            estimate(256, 4) + estimate(4096, 8),
        ),
    ];
    assert_eq!(text(Metric::Allocated), expected.concat());
    assert_eq!(text(Metric::Freed), line("main.main;main.page", estimate(256, 9)));
}

#[test]
fn a_firefox_profile_points_nowhere_outside_itself() {
    let recording = recording(&ticks());
    let profile: Value =
        serde_json::from_slice(&exported(&recording, Format::Firefox, Metric::Live)).unwrap();
    assert_eq!(profile["meta"]["preprocessedProfileVersion"], 55);
    let thread = &profile["threads"][0];
    let length = |table: &Value| table["length"].as_u64().unwrap();
    for name in [
        "samples",
        "nativeAllocations",
        "stackTable",
        "frameTable",
        "funcTable",
        "resourceTable",
        "nativeSymbols",
        "markers",
    ] {
        let table = &thread[name];
        for (column, values) in table.as_object().unwrap() {
            if let Some(values) = values.as_array() {
                assert_eq!(values.len() as u64, length(table), "{name}.{column}");
            }
        }
    }
    let below = |table: &str, column: &str, limit: u64| {
        for value in thread[table][column].as_array().unwrap() {
            assert!(
                value.is_null() || value.as_u64().unwrap() < limit,
                "{table}.{column}: {value}"
            );
        }
    };
    let stacks = length(&thread["stackTable"]);
    below("samples", "stack", stacks);
    below("nativeAllocations", "stack", stacks);
    below("stackTable", "prefix", stacks);
    below("stackTable", "frame", length(&thread["frameTable"]));
    below("frameTable", "func", length(&thread["funcTable"]));
    let strings = thread["stringArray"].as_array().unwrap().len() as u64;
    below("funcTable", "name", strings);
    below("funcTable", "fileName", strings);
    // A prefix comes before what it is the prefix of.
    for (at, prefix) in thread["stackTable"]["prefix"]
        .as_array()
        .unwrap()
        .iter()
        .enumerate()
    {
        assert!(prefix.as_u64().is_none_or(|prefix| prefix < at as u64));
    }
    assert!(
        thread["frameTable"]["inlineDepth"]
            .as_array()
            .unwrap()
            .contains(&1.into())
    );

    let sum = |table: &str, sign: f64| {
        let weights = thread[table]["weight"].as_array().unwrap().iter();
        weights
            .filter_map(Value::as_f64)
            .filter(|w| w * sign > 0.0)
            .sum::<f64>()
    };
    let live = recording.session.headline().live.value;
    assert!((sum("samples", 1.0) - live).abs() < 5.0);
    let allocated = estimate(1024, 20) + estimate(256, 12) + estimate(256, 4) + estimate(4096, 8);
    assert!((sum("nativeAllocations", 1.0) - allocated).abs() < 20.0);
    assert!((sum("nativeAllocations", -1.0) + estimate(256, 9)).abs() < 20.0);
}
