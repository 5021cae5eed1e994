//! Two recordings, call site by call site: what moved, and what only seems to.
//!
//! Each figure has its own interval. Those of a difference are put together by the method of variance
//! estimates recovery (Zou and Donner, 2008): the distances of both figures to the ends of their intervals
//! add as squares. A site moved only if the interval of its difference leaves out 0. At 99 % that happens
//! by chance to one site in a hundred that did not move.
//!
//! A site is a function and its file: lines shift from one build to the next.

mod condition;
mod judge;
mod write;

pub use condition::Condition;
pub use judge::{Judged, Verdict};

use crate::Recording;
use heaptide_analysis::Estimator;
use heaptide_analysis::report::Unit;
use heaptide_analysis::views::{Figure, Window};
use std::collections::{BTreeMap, BTreeSet};

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffMetric {
    /// At the end of the window.
    Live,
    /// In the window.
    Allocated,
    /// The same for each second, for recordings of different lengths.
    AllocatedPerSecond,
}

#[derive(Debug, Clone)]
pub struct DiffQuery {
    pub metric: DiffMetric,
    pub conditions: Vec<Condition>,
    /// Sites told, those that moved most first.
    pub limit: u32,
}

/// One side: a recording and the part of it that counts.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    pub recording: &'a Recording,
    pub window: Window,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Diff {
    pub metric: DiffMetric,
    pub total: SiteChange,
    pub sites: Vec<SiteChange>,
    /// Sites beyond the limit; of those, how many moved.
    pub left_out: u64,
    pub left_out_moved: u64,
    pub judged: Vec<Judged>,
    /// What a reader must know before believing it.
    pub warnings: Vec<String>,
}

/// A call site in both.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteChange {
    pub function: String,
    pub file: String,
    pub before: Figure,
    pub after: Figure,
    /// After less before.
    pub change: Change,
    /// Whether the change is more than noise.
    pub moved: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

type SiteKey = (String, String);

impl DiffMetric {
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Allocated => "allocated",
            Self::AllocatedPerSecond => "allocated_per_s",
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::Live | Self::Allocated => Unit::Bytes,
            Self::AllocatedPerSecond => Unit::BytesPerSecond,
        }
    }
}

impl Diff {
    pub fn new(before: Side<'_>, after: Side<'_>, query: &DiffQuery) -> Self {
        let (a, b) = (before.sites(query.metric), after.sites(query.metric));
        let (a_none, b_none) = (before.none(query.metric), after.none(query.metric));
        let keys: BTreeSet<&SiteKey> = a.keys().chain(b.keys()).collect();
        let mut sites: Vec<SiteChange> = keys
            .into_iter()
            .map(|key| {
                let before = a.get(key).copied().unwrap_or(a_none);
                let after = b.get(key).copied().unwrap_or(b_none);
                SiteChange::new(&key.0, &key.1, before, after)
            })
            .collect();
        // Those that moved, then by how far.
        sites.sort_by(|x, y| {
            let far = |site: &SiteChange| site.change.value.abs();
            y.moved
                .cmp(&x.moved)
                .then(far(y).total_cmp(&far(x)))
                .then_with(|| (&x.function, &x.file).cmp(&(&y.function, &y.file)))
        });
        let cut = sites.split_off(sites.len().min(query.limit as usize));
        let total = SiteChange::new(
            "",
            "",
            before.sum(query.metric, None),
            after.sum(query.metric, None),
        );
        Self {
            metric: query.metric,
            total,
            sites,
            left_out: cut.len() as u64,
            left_out_moved: cut.iter().filter(|site| site.moved).count() as u64,
            judged: query
                .conditions
                .iter()
                .map(|condition| condition.judge(before, after))
                .collect(),
            warnings: warnings(before, after, query),
        }
    }

    /// Whether any condition is met.
    pub fn is_failed(&self) -> bool {
        self.judged.iter().any(|judged| judged.verdict == Verdict::Met)
    }

    /// Conditions that could not be judged at all, with why.
    pub fn unknown(&self) -> impl Iterator<Item = (&str, &str)> {
        self.judged.iter().filter_map(|judged| match &judged.verdict {
            Verdict::Unknown { why } => Some((judged.condition.as_str(), why.as_str())),
            _ => None,
        })
    }
}

impl SiteChange {
    fn new(function: &str, file: &str, before: Figure, after: Figure) -> Self {
        let change = difference(&after, 1.0, &before);
        Self {
            function: function.to_owned(),
            file: file.to_owned(),
            before,
            after,
            change,
            moved: change.low > 0.0 || change.high < 0.0,
        }
    }
}

/// `after - factor * before` with its interval.
pub(crate) fn difference(after: &Figure, factor: f64, before: &Figure) -> Change {
    let value = after.value - factor * before.value;
    let distance = |x: f64, y: f64| (x * x + y * y).sqrt();
    Change {
        value,
        low: value - distance(after.value - after.low, factor * (before.high - before.value)),
        high: value + distance(after.high - after.value, factor * (before.value - before.low)),
    }
}

impl Side<'_> {
    pub(crate) fn seconds(&self) -> f64 {
        (self.window.to_ns.saturating_sub(self.window.from_ns)).max(1) as f64 / 1e9
    }

    /// All sites' figures.
    fn sites(&self, metric: DiffMetric) -> BTreeMap<SiteKey, Figure> {
        let mut sites: BTreeMap<SiteKey, Estimator> = BTreeMap::new();
        for row in self.recording.session.samples(self.window) {
            let count = count(&row, metric);
            if count > 0 {
                let leaf = row.frames.first();
                let key = leaf.map_or_else(SiteKey::default, |frame| {
                    (frame.function.clone(), frame.file.clone())
                });
                sites
                    .entry(key)
                    .or_default()
                    .add(row.size_bytes, row.rate_bytes, count);
            }
        }
        sites
            .into_iter()
            .map(|(key, estimator)| (key, self.figure(&estimator, metric)))
            .collect()
    }

    /// Of all sites, or of all whose function has this name.
    pub(crate) fn sum(&self, metric: DiffMetric, function: Option<&str>) -> Figure {
        let mut estimator = Estimator::default();
        for row in self.recording.session.samples(self.window) {
            let leaf = row.frames.first().map(|frame| frame.function.as_str());
            if function.is_none() || function == leaf {
                estimator.add(row.size_bytes, row.rate_bytes, count(&row, metric));
            }
        }
        self.figure(&estimator, metric)
    }

    /// Of a site that has no sample here: it may still have allocated a little.
    fn none(&self, metric: DiffMetric) -> Figure {
        self.figure(&Estimator::default(), metric)
    }

    fn figure(&self, estimator: &Estimator, metric: DiffMetric) -> Figure {
        let headline = self.recording.session.headline_at(self.window.to_ns);
        let mut figure = estimator.bytes(headline.sampling_rate_bytes);
        if metric == DiffMetric::AllocatedPerSecond {
            for value in [&mut figure.value, &mut figure.low, &mut figure.high] {
                *value /= self.seconds();
            }
        }
        figure
    }
}

fn count(row: &heaptide_analysis::StackSamples, metric: DiffMetric) -> i64 {
    let count = match metric {
        DiffMetric::Live => row.live,
        DiffMetric::Allocated | DiffMetric::AllocatedPerSecond => row.allocated,
    };
    count as i64
}

fn warnings(before: Side<'_>, after: Side<'_>, query: &DiffQuery) -> Vec<String> {
    let mut warnings = Vec::new();
    for (name, side) in [("before", before), ("after", after)] {
        let flaws = side.recording.flaws();
        warnings.extend(flaws.into_iter().map(|flaw| format!("{name}: not whole: {flaw}")));
    }
    let ratio = before.seconds() / after.seconds();
    if query.metric == DiffMetric::Allocated && !(0.95..=1.05).contains(&ratio) {
        warnings.push(format!(
            "the recordings are {:.1} s and {:.1} s long, and what is allocated grows with that: compare \
             allocated_per_s",
            before.seconds(),
            after.seconds()
        ));
    }
    for condition in &query.conditions {
        if let Some(site) = condition.site()
            && [before, after].iter().all(|side| !side.has_site(site))
        {
            warnings.push(format!(
                "{site} is a call site in neither recording, so {:?} can't be met",
                condition.text()
            ));
        }
    }
    warnings
}

impl Side<'_> {
    fn has_site(&self, function: &str) -> bool {
        let samples = self.recording.session.samples(self.window);
        samples
            .iter()
            .filter_map(|row| row.frames.first())
            .any(|frame| frame.function == function)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heaptide_protocol::session::Method;

    fn sampled(value: f64, low: f64, high: f64) -> Figure {
        Figure {
            value,
            low,
            high,
            method: Method::Sampled { rate_bytes: 524_288 },
        }
    }

    #[test]
    fn a_difference_has_the_noise_of_both() {
        let cases = [
            // Before, after, moved: the distances 30 and 40 make 50.
            (sampled(100.0, 70.0, 130.0), sampled(151.0, 111.0, 190.0), true),
            (sampled(100.0, 70.0, 130.0), sampled(149.0, 109.0, 190.0), false),
            (sampled(151.0, 111.0, 190.0), sampled(100.0, 70.0, 129.0), true),
            // Exact figures have no noise.
            (sampled(5.0, 5.0, 5.0), sampled(6.0, 6.0, 6.0), true),
            (sampled(5.0, 5.0, 5.0), sampled(5.0, 5.0, 5.0), false),
            // Nothing seen before: what may have been there nevertheless counts.
            (sampled(0.0, 0.0, 46.0), sampled(40.0, 10.0, 80.0), false),
        ];
        for (before, after, moved) in cases {
            let change = SiteChange::new("f", "", before, after);
            assert_eq!(change.moved, moved, "{change:?}");
            assert_eq!(change.change.value, after.value - before.value);
        }
    }
}
