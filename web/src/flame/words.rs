//! What the graph and its twin say about a node, and about themselves.

use heaptide_analysis::views::Metric;

use super::{Culled, Matches, Scene, What};
use crate::format::{bytes, count, percent, relative_error};

pub fn metric_word(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "live",
        Metric::Kept => "kept",
        Metric::Allocated => "allocated",
        Metric::Freed => "freed",
    }
}

/// A node in one sentence, for a screen reader.
pub fn describe(scene: &Scene, node: u32, metric: Metric) -> String {
    let Some(found) = scene.flame.nodes.get(node as usize) else {
        return String::new();
    };
    let mut text = format!(
        "{}, {} {} {}, {} of total, self {}",
        scene.function(node),
        bytes(found.total_bytes),
        metric_word(metric),
        relative_error(f64::from(found.relative_error)),
        percent(scene.share(node)),
        bytes(found.self_bytes),
    );
    let place = scene.place(node);
    if !place.is_empty() {
        text.push_str(", ");
        text.push_str(&place);
    }
    text
}

/// How much of the graph is drawn, and what isn't and why: each part a phrase.
pub fn status(scene: &Scene, culled: &Culled, matches: Option<&Matches>) -> Vec<String> {
    let drawn = culled
        .boxes
        .iter()
        .filter(|found| matches!(found.what, What::Node(_)))
        .count();
    let mut out = vec![format!(
        "{} frames, {} drawn",
        count(scene.layout.len() as u64),
        count(drawn as u64)
    )];
    if culled.hidden > 0 {
        out.push(format!("{} too narrow to draw", count(culled.hidden)));
    }
    if scene.flame.merged_nodes > 0 {
        out.push(format!(
            "{} smaller ones merged into their callers",
            count(scene.flame.merged_nodes)
        ));
    }
    if scene.flame.hidden_bytes >= 1.0 {
        out.push(format!("{} filtered out", bytes(scene.flame.hidden_bytes)));
    }
    if let Some(matches) = matches {
        let share = if scene.flame.total.value > 0.0 {
            matches.bytes / scene.flame.total.value
        } else {
            0.0
        };
        out.push(match matches.frames {
            0 => "no frame matches".to_owned(),
            1 => format!("1 frame matches, {}", percent(share)),
            many => format!("{} frames match, {}", count(many), percent(share)),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{cull, sample, search};
    use super::*;

    #[test]
    fn nothing_is_left_out_in_silence() {
        let mut flame = sample::flame(&[
            ("main.main", 0, 1000.0),
            ("main.leak", 1, 600.0),
            ("fmt.Print", 1, 2.0),
        ]);
        (flame.merged_nodes, flame.hidden_bytes) = (1234, 2048.0);
        let scene = Scene::new(Arc::new(flame));
        let culled = cull(&scene.layout, &cull::camera(100.0));
        let matches = search(&scene.flame, &scene.layout, "leak");
        assert_eq!(
            status(&scene, &culled, matches.as_ref()),
            [
                "3 frames, 2 drawn",
                "1 too narrow to draw",
                "1,234 smaller ones merged into their callers",
                "2.00 KiB filtered out",
                "1 frame matches, 60 %",
            ]
        );
        assert_eq!(
            describe(&scene, 1, Metric::Live),
            "main.leak, 600 B live ±5.0 %, 60 % of total, self 600 B, file.go:7"
        );
        assert_eq!(describe(&scene, 9, Metric::Live), "");
    }
}
