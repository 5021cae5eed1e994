//! The state of a view as query pairs, versioned: one upgrader per version, so that old links keep working.

use heaptide_analysis::views::{Metric, Window};
use serde::{Deserialize, Serialize};

/// Bump it when a key changes its meaning, add an arm to [`upgrade`] and golden links to the tests.
pub const VIEW_VERSION: u32 = 1;

const MAX_FILTER_CHARS: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewState {
    /// How much of the newest the timeline shows.
    pub range: Range,
    /// Paused at this moment; `None` follows the newest.
    pub at_ns: Option<u64>,
    /// What the tables and the flame graph count; `None` is the whole timeline.
    pub selection: Option<Window>,
    pub metric: MetricChoice,
    pub filter: String,
    /// Keys of flame nodes.
    pub selected: Option<u64>,
    pub zoom: Option<u64>,
    pub sort: FleetSort,
    /// The label that the fleet is grouped by; empty for none.
    pub by: String,
    /// Whether the sampling panel is open.
    pub sampling_open: bool,
}

/// [`Metric`] with a default: what is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetricChoice(pub Metric);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Range {
    Minute,
    #[default]
    FiveMinutes,
    HalfHour,
    Day,
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FleetSort {
    #[default]
    Growth,
    Live,
    Rss,
    Allocation,
    Name,
}

type Pairs = Vec<(String, String)>;

impl Default for MetricChoice {
    fn default() -> Self {
        Self(Metric::Live)
    }
}

impl Range {
    pub const ALL: [Self; 5] = [
        Self::Minute,
        Self::FiveMinutes,
        Self::HalfHour,
        Self::Day,
        Self::All,
    ];

    /// `None` is everything there is.
    pub fn length_ns(self) -> Option<u64> {
        const SECOND: u64 = 1_000_000_000;
        match self {
            Self::Minute => Some(60 * SECOND),
            Self::FiveMinutes => Some(300 * SECOND),
            Self::HalfHour => Some(1_800 * SECOND),
            Self::Day => Some(86_400 * SECOND),
            Self::All => None,
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Minute => "1 min",
            Self::FiveMinutes => "5 min",
            Self::HalfHour => "30 min",
            Self::Day => "24 h",
            Self::All => "All",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Minute => "1m",
            Self::FiveMinutes => "5m",
            Self::HalfHour => "30m",
            Self::Day => "24h",
            Self::All => "all",
        }
    }

    /// The window to show, given what there is and where the view is held.
    pub fn window(self, span: Window, at_ns: Option<u64>) -> Window {
        let to_ns = at_ns.map_or(span.to_ns, |at| at.clamp(span.from_ns, span.to_ns));
        let from_ns = match self.length_ns() {
            Some(length) => to_ns.saturating_sub(length).max(span.from_ns),
            None => span.from_ns,
        };
        Window { from_ns, to_ns }
    }
}

impl FleetSort {
    pub const ALL: [Self; 5] = [Self::Growth, Self::Live, Self::Rss, Self::Allocation, Self::Name];

    fn key(self) -> &'static str {
        match self {
            Self::Growth => "growth",
            Self::Live => "live",
            Self::Rss => "rss",
            Self::Allocation => "alloc",
            Self::Name => "name",
        }
    }
}

pub fn metric_key(metric: Metric) -> &'static str {
    match metric {
        Metric::Live => "live",
        Metric::Kept => "kept",
        Metric::Allocated => "allocated",
        Metric::Freed => "freed",
    }
}

pub const METRICS: [Metric; 4] = [Metric::Live, Metric::Kept, Metric::Allocated, Metric::Freed];

impl ViewState {
    /// What differs from the default, in a fixed order. Numbers of 64 bits are text: JavaScript would round them.
    pub(super) fn pairs(&self) -> Vec<(&'static str, String)> {
        let default = Self::default();
        let mut pairs = Vec::new();
        let mut put = |differs: bool, key: &'static str, value: String| {
            if differs {
                pairs.push((key, value));
            }
        };
        put(self.range != default.range, "r", self.range.key().to_owned());
        if let Some(at) = self.at_ns {
            put(true, "at", at.to_string());
        }
        if let Some(window) = self.selection {
            put(true, "t0", window.from_ns.to_string());
            put(true, "t1", window.to_ns.to_string());
        }
        put(
            self.metric != default.metric,
            "metric",
            metric_key(self.metric.0).to_owned(),
        );
        put(!self.filter.is_empty(), "f", self.filter.clone());
        for (key, value) in [("sel", self.selected), ("zoom", self.zoom)] {
            if let Some(value) = value {
                put(true, key, format!("{value:016x}"));
            }
        }
        put(self.sort != default.sort, "sort", self.sort.key().to_owned());
        put(!self.by.is_empty(), "by", self.by.clone());
        put(self.sampling_open, "panel", "sampling".to_owned());
        if !pairs.is_empty() {
            pairs.insert(0, ("v", VIEW_VERSION.to_string()));
        }
        pairs
    }

    pub(super) fn from_pairs(pairs: Pairs, problems: &mut Vec<String>) -> Self {
        let version = match pairs.iter().find(|(key, _)| key == "v") {
            None => VIEW_VERSION,
            Some((_, text)) => text.parse().unwrap_or_else(|_| {
                problems.push(format!(
                    "The link's version '{text}' is not a number; it was read as {VIEW_VERSION}."
                ));
                VIEW_VERSION
            }),
        };
        let pairs = upgrade(version, pairs, problems);
        let mut view = Self::default();
        let (mut t0, mut t1) = (None, None);
        for (key, value) in &pairs {
            let understood = match key.as_str() {
                "v" => true,
                "r" => choose(&Range::ALL, value, |range| range.key(), &mut view.range),
                "at" => number(value, &mut view.at_ns),
                "t0" => number(value, &mut t0),
                "t1" => number(value, &mut t1),
                "metric" => choose(&METRICS, value, metric_key, &mut view.metric.0),
                "f" => {
                    view.filter = value.chars().take(MAX_FILTER_CHARS).collect();
                    view.filter.len() == value.len()
                }
                "sel" => node_key(value, &mut view.selected),
                "zoom" => node_key(value, &mut view.zoom),
                "sort" => choose(&FleetSort::ALL, value, |sort| sort.key(), &mut view.sort),
                "by" => {
                    let is_key = is_label_key(value);
                    if is_key {
                        view.by.clone_from(value);
                    }
                    is_key
                }
                "panel" => {
                    view.sampling_open = value == "sampling";
                    view.sampling_open
                }
                // Other people's keys (campaign tags and the like) are none of our business.
                _ => true,
            };
            if !understood {
                let shown: String = value.chars().take(40).collect();
                problems.push(format!(
                    "The link's {key}={shown} was not understood and is left out."
                ));
            }
        }
        match (t0, t1) {
            (Some(from_ns), Some(to_ns)) if from_ns < to_ns => {
                view.selection = Some(Window { from_ns, to_ns });
            }
            (None, None) => {}
            _ => problems.push(
                "The link's time window has no beginning before its end; all of the time is shown."
                    .to_owned(),
            ),
        }
        view
    }
}

/// Brings pairs of an older version to this one. A newer one is read as far as it goes.
fn upgrade(version: u32, pairs: Pairs, problems: &mut Vec<String>) -> Pairs {
    if version > VIEW_VERSION {
        problems.push(format!(
            "This link has view version {version}; this console knows {VIEW_VERSION}. Parts of it may be missing: \
             reload the page, or upgrade the hub that serves it."
        ));
    }
    pairs
}

fn choose<T: Copy>(all: &[T], text: &str, key: impl Fn(T) -> &'static str, out: &mut T) -> bool {
    match all.iter().find(|choice| key(**choice) == text) {
        Some(choice) => {
            *out = *choice;
            true
        }
        None => false,
    }
}

fn number(text: &str, out: &mut Option<u64>) -> bool {
    *out = text.parse().ok();
    out.is_some()
}

/// As labels' keys are, so that what comes by a link can be asked of the hub.
fn is_label_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-/".contains(&byte);
    (1..=63).contains(&text.len()) && text.bytes().all(allowed)
}

fn node_key(text: &str, out: &mut Option<u64>) -> bool {
    *out = (text.len() == 16)
        .then(|| u64::from_str_radix(text, 16).ok())
        .flatten();
    out.is_some()
}
