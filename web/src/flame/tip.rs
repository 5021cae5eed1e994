//! The tooltip of the flame graph, as markup.

use heaptide_analysis::views::Metric;

use super::{Scene, What, metric_word};
use crate::canvas::escape;
use crate::format::{bytes, count, percent, relative_error};

pub fn tip(scene: &Scene, what: What, zoomed: Option<u32>, metric: Metric) -> String {
    let node = match what {
        What::Node(node) => node,
        What::Merged { count: merged, .. } => {
            return format!(
                "{} frames too narrow to draw. Click to zoom in.",
                count(u64::from(merged))
            );
        }
    };
    let Some(found) = scene.flame.nodes.get(node as usize) else {
        return String::new();
    };
    let mut out = format!(
        r#"<div class="flame-name">{}</div>"#,
        escape(scene.function(node))
    );
    let place = scene.place(node);
    if !place.is_empty() || found.inlined {
        let inlined = if found.inlined { " (inlined)" } else { "" };
        out.push_str(&format!(
            r#"<div class="flame-place">{}{inlined}</div>"#,
            escape(&place)
        ));
    }
    let whole = scene.flame.total.value.max(f64::MIN_POSITIVE);
    let mut fact = |name: &str, value: String, note: String| {
        out.push_str(&format!("<dt>{name}</dt><dd>{value}</dd><dd>{note}</dd>"));
    };
    let error = relative_error(f64::from(found.relative_error));
    fact(metric_word(metric), bytes(found.total_bytes), error);
    fact("of total", percent(found.total_bytes / whole), String::new());
    let zoomed = zoomed.and_then(|zoomed| scene.flame.nodes.get(zoomed as usize));
    if let Some(zoomed) = zoomed.filter(|zoomed| zoomed.depth < found.depth && zoomed.total_bytes > 0.0) {
        fact(
            "of zoomed",
            percent(found.total_bytes / zoomed.total_bytes),
            String::new(),
        );
    }
    let own_share = format!("{} of total", percent(found.self_bytes / whole));
    fact("self", bytes(found.self_bytes), own_share);
    fact("samples", count(found.samples), String::new());
    match out.find("<dt>") {
        Some(facts) => {
            out.insert_str(facts, "<dl class=\"flame-facts\">");
            out + "</dl>"
        }
        None => out,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sample;
    use super::*;

    #[test]
    fn a_frame_with_its_error_and_shares() {
        let flame = sample::flame(&[
            ("main.Map[<T>]", 0, 4096.0),
            ("main.leak", 1, 1024.0),
            ("x.Y", 2, 512.0),
        ]);
        let scene = Scene::new(Arc::new(flame));
        assert_eq!(
            tip(&scene, What::Node(0), None, Metric::Live),
            "<div class=\"flame-name\">main.Map[&lt;T&gt;]</div><div class=\"flame-place\">file.go:7</div>\
             <dl class=\"flame-facts\"><dt>live</dt><dd>4.00 KiB</dd><dd>±5.0 %</dd>\
             <dt>of total</dt><dd>100 %</dd><dd></dd>\
             <dt>self</dt><dd>3.00 KiB</dd><dd>75 % of total</dd><dt>samples</dt><dd>1</dd><dd></dd></dl>"
        );
        let zoomed = tip(&scene, What::Node(2), Some(1), Metric::Freed);
        assert!(zoomed.contains("<dt>of zoomed</dt><dd>50 %</dd>") && zoomed.contains("<dt>freed</dt>"));
        let merged = tip(
            &scene,
            What::Merged {
                first: 1,
                count: 1200,
            },
            None,
            Metric::Live,
        );
        assert_eq!(merged, "1,200 frames too narrow to draw. Click to zoom in.");
    }
}
