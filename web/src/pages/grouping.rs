//! Which sessions the fleet page shows, in which order and in which groups, and what a group comes to. Pure.

use super::naming::service_name;
use crate::order::ranked;
use crate::url::{FleetSort, ViewState};
use crate::worker::FleetRow;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::SessionState;
use std::cmp::Ordering;

/// What the sessions of a group come to, as far as they are shown. Bytes are sums over the live ones.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Group {
    pub sessions: usize,
    pub live: usize,
    pub live_bytes: f64,
    /// Sessions err independently, so it is variances that add up.
    pub live_variance: f64,
    pub rss_bytes: f64,
    pub allocated_bytes_per_s: f64,
    /// Of those whose growth is known by now; `None` while none is.
    pub growth_bytes_per_min: Option<f64>,
}

/// The lines of the table as one text, so that a change of their order is cheap to see: the ids of sessions, and `#ID`
/// where a group begins of which that session is one, the same one whatever the order.
///
/// Groups stand in the order of their first sessions.
pub fn lines(rows: &[FleetRow], view: &ViewState) -> String {
    let filter = view.filter.to_ascii_lowercase();
    let shown: Vec<&FleetRow> = rows.iter().filter(|row| matches(row, &filter)).collect();
    let order = ranked(shown.len(), &|a, b| compare(shown[a], shown[b], view.sort));
    let mut groups: Vec<(&str, SessionId, String)> = Vec::new();
    for at in order {
        let row = shown[at as usize];
        let (value, id) = (label(row, &view.by), row.summary.session);
        let at = groups.iter().position(|group| group.0 == value);
        let at = at.unwrap_or_else(|| {
            groups.push((value, id, String::new()));
            groups.len() - 1
        });
        let (_, least, ids) = &mut groups[at];
        *least = id.min(*least);
        *ids += &format!("{id} ");
    }
    let mut out = String::new();
    for (_, least, ids) in groups {
        if !view.by.is_empty() {
            out += &format!("#{least} ");
        }
        out += &ids;
    }
    out
}

/// Of the sessions that are shown and have this value of the label that groups.
pub fn sum(rows: &[FleetRow], view: &ViewState, value: &str) -> Group {
    let filter = view.filter.to_ascii_lowercase();
    let mut group = Group::default();
    for row in rows {
        if label(row, &view.by) != value || !matches(row, &filter) {
            continue;
        }
        group.sessions += 1;
        if row.summary.state != SessionState::Live {
            continue;
        }
        group.live += 1;
        if let Some(growth) = row.growth_bytes_per_min {
            group.growth_bytes_per_min = Some(growth + group.growth_bytes_per_min.unwrap_or(0.0));
        }
        if let Some(pulse) = &row.summary.pulse {
            group.live_bytes += pulse.live_bytes;
            group.live_variance += pulse.live_std_error_bytes * pulse.live_std_error_bytes;
            group.rss_bytes += pulse.rss_bytes as f64;
            group.allocated_bytes_per_s += pulse.allocated_bytes_per_s;
        }
    }
    group
}

/// Empty without it: no label's value is.
pub fn label<'a>(row: &'a FleetRow, by: &str) -> &'a str {
    row.summary.labels.get(by).unwrap_or_default()
}

/// What people know the session by: the service that it was labelled as, or else its program.
pub fn session_name(row: &FleetRow) -> String {
    match label(row, "service") {
        "" => service_name(&row.summary.signature),
        service => service.to_owned(),
    }
}

/// The labels that these sessions have.
pub fn label_keys(rows: &[FleetRow]) -> Vec<&str> {
    let mut keys = Vec::new();
    for (key, _) in rows.iter().flat_map(|row| row.summary.labels.iter()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// Looks where the hub looks, so that a dashboard finds what this page does.
fn matches(row: &FleetRow, filter: &str) -> bool {
    let has = |text: &str| text.to_ascii_lowercase().contains(filter);
    let signature = &row.summary.signature;
    filter.is_empty()
        || has(&signature.executable)
        || has(&signature.host_name)
        || has(&signature.runtime_version)
        || has(&signature.pid.to_string())
        || has(&row.summary.session.to_string())
        || signature.command_line.iter().any(|word| has(word))
        || row
            .summary
            .labels
            .iter()
            .any(|(key, value)| has(&format!("{key}={value}")))
}

/// Live sessions first, then by the chosen column, then by name and id so that rows hold still.
fn compare(a: &FleetRow, b: &FleetRow, sort: FleetSort) -> Ordering {
    let rank = |row: &FleetRow| match row.summary.state {
        SessionState::Live => 0,
        SessionState::Away { .. } => 1,
        SessionState::Ended => 2,
    };
    let value = |row: &FleetRow| {
        let pulse = row.summary.pulse.as_ref();
        match sort {
            FleetSort::Growth => row.growth_bytes_per_min,
            FleetSort::Live => pulse.map(|pulse| pulse.live_bytes),
            FleetSort::Rss => pulse.map(|pulse| pulse.rss_bytes as f64),
            FleetSort::Allocation => pulse.map(|pulse| pulse.allocated_bytes_per_s),
            FleetSort::Name => None,
        }
        .unwrap_or(f64::NEG_INFINITY)
    };
    let newest_first = || {
        b.summary
            .signature
            .clock
            .unix_ns
            .cmp(&a.summary.signature.clock.unix_ns)
    };
    rank(a)
        .cmp(&rank(b))
        .then_with(|| value(b).total_cmp(&value(a)))
        .then_with(|| session_name(a).cmp(&session_name(b)))
        .then_with(newest_first)
        .then_with(|| a.summary.session.cmp(&b.summary.session))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::{sample_pulse, sample_summary};

    /// Id, labels, live heap of a live session or none of one that has ended.
    fn row(id: u8, labels: &[(&str, &str)], live_bytes: Option<f64>) -> FleetRow {
        let mut summary = sample_summary(id);
        for (key, value) in labels {
            summary.labels.insert(key, value).unwrap();
        }
        let mut pulse = sample_pulse(1, live_bytes.unwrap_or(1e9));
        pulse.live_std_error_bytes = 3.0;
        pulse.rss_bytes = 100;
        pulse.allocated_bytes_per_s = 7.0;
        summary.pulse = Some(pulse);
        if live_bytes.is_none() {
            summary.state = SessionState::Ended;
        }
        FleetRow {
            summary,
            growth_bytes_per_min: live_bytes.map(|live| live / 2.0),
            history_bytes: Vec::new(),
        }
    }

    fn fleet() -> Vec<FleetRow> {
        vec![
            row(1, &[("service", "shop"), ("zone", "eu")], Some(10.0)),
            row(2, &[("service", "cart")], Some(30.0)),
            row(3, &[("service", "shop"), ("zone", "us")], Some(20.0)),
            row(4, &[("service", "shop"), ("zone", "eu")], None),
            row(5, &[], None),
        ]
    }

    fn view(by: &str, filter: &str, sort: FleetSort) -> ViewState {
        ViewState {
            by: by.to_owned(),
            filter: filter.to_owned(),
            sort,
            ..ViewState::default()
        }
    }

    /// The first two digits of each id, which all others repeat.
    fn short(lines: &str) -> String {
        let words = lines.split_whitespace().map(|line| match line.strip_prefix('#') {
            Some(id) => format!("#{}", &id[..2]),
            None => line[..2].to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn sessions_stand_in_groups_in_the_order_of_their_first() {
        for (by, filter, sort, expected) in [
            ("", "", FleetSort::Live, "02 03 01 04 05"),
            ("service", "", FleetSort::Live, "#02 02 #01 03 01 04 #05 05"),
            ("zone", "", FleetSort::Live, "#02 02 05 #03 03 #01 01 04"),
            ("zone", "zone=EU", FleetSort::Live, "#01 01 04"),
            ("zone", "Cart", FleetSort::Growth, "#02 02"),
            ("nothing", "service=shop", FleetSort::Name, "#01 01 03 04"),
            ("", "0505", FleetSort::Live, "05"),
            ("", "/srv/shop", FleetSort::Live, "02 03 01 04 05"),
            ("zone", "nowhere", FleetSort::Live, ""),
        ] {
            let got = short(&lines(&fleet(), &view(by, filter, sort)));
            assert_eq!(got, expected, "by {by:?}, filter {filter:?}");
        }
    }

    #[test]
    fn a_group_counts_all_and_sums_the_live_with_errors_in_quadrature() {
        let live = Group {
            sessions: 3,
            live: 2,
            live_bytes: 30.0,
            live_variance: 18.0,
            rss_bytes: 200.0,
            allocated_bytes_per_s: 14.0,
            growth_bytes_per_min: Some(15.0),
        };
        let ended = Group {
            sessions: 1,
            ..Group::default()
        };
        for (value, filter, expected) in [
            ("shop", "", &live),
            ("", "", &ended),
            ("cart", "zone=eu", &Group::default()),
        ] {
            let got = sum(&fleet(), &view("service", filter, FleetSort::Live), value);
            assert_eq!(&got, expected, "{value:?}");
        }
    }

    #[test]
    fn the_labels_to_group_by_are_those_that_sessions_have() {
        assert_eq!(label_keys(&fleet()), ["service", "zone"]);
        assert_eq!(label_keys(&[]), [""; 0]);
    }
}
