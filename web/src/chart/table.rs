//! The timeline as a table, as markup: for screen readers always, for others on request.

use heaptide_analysis::views::Timeline;

use super::readout::mark_text;
use super::sample_rows;
use crate::canvas::escape;
use crate::format::{TimeBase, bytes, bytes_per_s, elapsed, relative_error};

const ROWS: usize = 40;

pub fn table(timeline: &Timeline, base: TimeBase) -> String {
    let mut out = String::from(
        "<table class=\"table\"><caption class=\"visually-hidden\">Points of the timeline, the newest last.",
    );
    for (index, mark) in timeline.marks.iter().enumerate() {
        out.push_str(if index == 0 { " Marks: " } else { "; " });
        out.push_str(&format!(
            "{} {}",
            elapsed(base, mark.at_ns),
            escape(&mark_text(mark))
        ));
    }
    out.push_str("</caption><thead><tr><th scope=\"col\">Time</th>");
    for name in ["Live heap", "Error", "RSS", "Untracked", "Allocated", "Freed"] {
        out.push_str(&format!("<th scope=\"col\" class=\"num\">{name}</th>"));
    }
    out.push_str("</tr></thead><tbody>");
    for index in sample_rows(timeline, ROWS) {
        let point = &timeline.points[index];
        let error = (point.live_high_bytes - point.live_low_bytes) / 2.0 / point.live_bytes;
        let rss = point.rss_bytes.map(|rss| rss as f64);
        let missing = || "–".to_owned();
        out.push_str(&format!(
            "<tr><th scope=\"row\">{}</th>",
            elapsed(base, point.at_ns)
        ));
        for cell in [
            bytes(point.live_bytes),
            relative_error(error),
            rss.map_or_else(missing, bytes),
            rss.map_or_else(missing, |rss| bytes(rss - point.live_bytes)),
            bytes_per_s(point.allocated_per_s),
            bytes_per_s(point.freed_per_s),
        ] {
            out.push_str(&format!("<td class=\"num\">{cell}</td>"));
        }
        out.push_str("</tr>");
    }
    out + "</tbody></table>"
}

#[cfg(test)]
mod tests {
    use super::super::readout::tests::timeline;
    use super::*;

    #[test]
    fn says_what_the_chart_shows() {
        let table = table(&timeline(), TimeBase::default());
        assert_eq!(table.matches("<tr><th scope=\"row\">").count(), 10);
        for text in [
            "the newest last. Marks: 0:00.0 sampling 512 KiB → 64 KiB</caption>",
            "<td class=\"num\">13.0 MiB</td><td class=\"num\">±7.7 %</td><td class=\"num\">–</td>",
            "<td class=\"num\">30.0 MiB</td><td class=\"num\">10.0 MiB</td><td class=\"num\">2.00 MiB/s</td>",
        ] {
            assert!(table.contains(text), "{text} in {table}");
        }
    }
}
