//! `heaptide doctor`: what the collector's library found, in columns or as JSON.

use crate::args::DoctorOptions;
use crate::sentences;
use heaptide_collector::doctor::{About, Examination, Fact, Obstacle, examine};
use heaptide_recording::{capability_json, columns, sources_text};
use serde_json::{Value, json};
use std::process::ExitCode;

/// A session would lack the sampled heap.
const CANT_WATCH: u8 = 2;

pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<ExitCode> {
    let examination = examine(options.pid);
    let text = if options.json {
        format!("{:#}\n", to_json(&examination))
    } else {
        to_text(&examination, options.pid)
    };
    sentences::text(&text)?;
    Ok(match examination.verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(CANT_WATCH),
    })
}

fn to_text(examination: &Examination, pid: Option<u32>) -> String {
    let mut out = String::new();
    for (about, title) in [
        (About::Host, "This host".to_owned()),
        (
            About::Process,
            pid.map_or_else(String::new, |pid| format!("Process {pid}")),
        ),
    ] {
        let facts: Vec<&Fact> = examination
            .facts
            .iter()
            .filter(|fact| fact.about == about)
            .collect();
        if !facts.is_empty() {
            out.push_str(&format!("{title}\n{}\n", columns(facts.into_iter().map(row))));
        }
    }
    out.push_str("What can be seen\n");
    sources_text(&examination.sources, &mut out);
    out.push_str(&match &examination.verdict {
        Ok(()) => "\nThe sampled heap can be watched.\n".to_owned(),
        Err(Obstacle { why, remedy }) => {
            format!("\nThe sampled heap can't be watched: {why}.\n  try: {remedy}\n")
        }
    });
    out
}

/// Its columns, and what stands below them.
fn row(fact: &Fact) -> (Vec<String>, Vec<String>) {
    let (mark, notes) = match &fact.obstacle {
        None => ("ok", Vec::new()),
        Some(Obstacle { why, remedy }) => ("no", vec![why.clone(), format!("try: {remedy}")]),
    };
    let cells = [mark, fact.name, &fact.value].map(str::to_owned).to_vec();
    (cells, notes)
}

fn to_json(examination: &Examination) -> Value {
    let obstacle = |obstacle: &Obstacle| json!({ "why": obstacle.why, "remedy": obstacle.remedy });
    let facts = examination.facts.iter().map(|fact| {
        json!({
            "about": match fact.about {
                About::Host => "host",
                About::Process => "process",
            },
            "name": fact.name,
            "value": fact.value,
            "obstacle": fact.obstacle.as_ref().map(obstacle),
        })
    });
    json!({
        "facts": facts.collect::<Vec<_>>(),
        "sources": examination.sources.iter().map(capability_json).collect::<Vec<_>>(),
        "sampled_heap": examination.verdict.is_ok(),
        "obstacle": examination.verdict.as_ref().err().map(obstacle),
    })
}
