//! Drift of hot spots: which call sites allocate more or less than in the window before, by more than noise.
//!
//! The window asked for is compared with the one of equal length before it; where the session does not reach
//! back so far, its two halves are compared. Both are Poisson samples, taken independently, so the noise of
//! a difference is known per site ([`Sum::chance_of_difference`](crate::estimate::Sum)). With hundreds of
//! sites some would look moved by chance, so the level holds for the list (Benjamini and Hochberg 1995): of
//! the sites called moved, one in a hundred is noise on average, and with no change at all a list has any
//! such site in one case of a hundred. All else is called "within noise", which doesn't say that it stayed.
//! Left out: what is live (its two moments share objects), and whether sampling keeps step with the program
//! (`exact`).

use super::{Cell, ReportQuery, Row, Table, Unit};
use crate::estimate::{Tally, difference};
use crate::flame::{SiteKey, SiteSums, by_site, frames_shown};
use crate::lifetimes::{Selection, StackTally};
use crate::order::ranked;
use crate::symbols::Symbols;
use crate::{CONFIDENCE, Session};

/// Of the sites that are called moved, so many are noise on average.
const LEVEL: f64 = 1.0 - CONFIDENCE;

struct Site {
    key: SiteKey,
    before: Tally,
    after: Tally,
    /// The heaviest of the later window, else of the earlier one.
    stack: StackTally,
    /// How often sampling alone would show so large a difference.
    chance: f64,
}

/// Two windows of the same number of ticks: `from..middle` and `middle..to`.
struct Halves {
    from: u32,
    middle: u32,
    to: u32,
    /// There is not enough time before the window that was asked for.
    halved: bool,
}

pub(super) fn tables(session: &Session, query: &ReportQuery) -> Vec<Table> {
    let Some(ticks) = &session.ticks else {
        return Vec::new();
    };
    let last = ticks.len() as u32;
    let asked = (
        ticks.index(query.window.from_ns).min(last),
        ticks.index_up(query.window.to_ns).min(last),
    );
    let Some(halves) = halves(asked) else {
        return Vec::new();
    };
    let rate_bytes = session.sampling_rate_bytes();
    // One source throughout, that of the end.
    let buckets = ticks.before(halves.to).counts_buckets;
    let born = |from, to| {
        let stacks = session.select(Selection::BornIn { from, to }, buckets);
        by_site(&stacks, &session.symbols, "")
    };
    let (_, before) = born(halves.from, halves.middle);
    let (total, after) = born(halves.middle, halves.to);
    let sites = joined(before, after);
    let moved = moved(&sites.iter().map(|site| site.chance).collect::<Vec<f64>>(), LEVEL);
    let weight = |at: usize| (sites[at].after.bytes.estimate - sites[at].before.bytes.estimate).abs();
    let order = ranked(sites.len(), &|a, b| {
        (moved[b].cmp(&moved[a]))
            .then(weight(b).total_cmp(&weight(a)))
            .then_with(|| sites[a].key.cmp(&sites[b].key))
    });
    let count = moved.iter().filter(|moved| **moved).count();
    let seconds = u64::from(halves.to - halves.middle) * ticks.tick_ns / 1_000_000_000;
    let (from_ns, to_ns) = (
        ticks.origin_ns + u64::from(halves.from) * ticks.tick_ns,
        ticks.origin_ns + u64::from(halves.to) * ticks.tick_ns,
    );
    let mut note = format!(
        "{count} of {} call sites moved. Bytes allocated in {seconds} s against ",
        sites.len()
    );
    note.push_str(if halves.halved {
        "as long before: the session does not reach back further, so the window is halved."
    } else {
        "the window of equal length before."
    });
    note.push_str(
        " Moved is what sampling alone would not show: of the sites so called, 1 % are noise on average \
         (Benjamini-Hochberg over all sites). The rest is within noise, which does not say that it stayed. \
         The interval is at 99 % for the one site; chance is how often so large a difference comes of sampling.",
    );
    if session.has_gap(from_ns, to_ns) {
        note.push_str(" Frames of this time are missing here: a site can seem to have moved for that.");
    }
    let mut table = Table::new(
        "Call sites that moved",
        &note,
        total.bytes_figure(rate_bytes).method,
        &[
            ("Call site", Unit::Text),
            ("Moved", Unit::Text),
            ("Before", Unit::Bytes),
            ("After", Unit::Bytes),
            ("Difference", Unit::Bytes),
            ("Chance", Unit::Share),
        ],
    );
    let needle = query.filter.to_ascii_lowercase();
    for at in order {
        let (site, moved) = (&sites[at as usize], moved[at as usize]);
        if keeps(site, &session.symbols, &needle) {
            if table.rows.len() < query.limit as usize {
                table.rows.push(row(site, moved, &session.symbols, rate_bytes));
            } else {
                table.left_out += 1;
            }
        }
    }
    let mut tables = vec![table];
    let newest = session.exact.iter().rev();
    tables.extend(
        newest
            .filter_map(|window| window.phase.as_ref())
            .map(super::exact::phase_table)
            .next(),
    );
    tables
}

/// The window and as much before it; two halves of the window if there is less.
fn halves((from, to): (u32, u32)) -> Option<Halves> {
    let length = to.saturating_sub(from);
    let halved = length > from;
    let length = if halved { length / 2 } else { length };
    (length > 0).then(|| Halves {
        from: to - 2 * length,
        middle: to - length,
        to,
        halved,
    })
}

/// Both lists by call site.
fn joined(before: Vec<(SiteKey, SiteSums)>, after: Vec<(SiteKey, SiteSums)>) -> Vec<Site> {
    let mut all: Vec<(SiteKey, SiteSums, bool)> = Vec::new();
    for (later, list) in [(true, after), (false, before)] {
        all.extend(list.into_iter().map(|(key, sums)| (key, sums, later)));
    }
    let order = ranked(all.len(), &|a, b| all[a].0.cmp(&all[b].0));
    let mut sites: Vec<Site> = Vec::new();
    for at in order {
        let (key, (tally, stack, _), later) = &all[at as usize];
        if sites.last().is_none_or(|site| site.key != *key) {
            sites.push(Site {
                key: key.clone(),
                before: Tally::default(),
                after: Tally::default(),
                stack: *stack,
                chance: 1.0,
            });
        }
        if let Some(site) = sites.last_mut() {
            if *later {
                site.after = *tally;
            } else {
                site.before = *tally;
            }
        }
    }
    for site in &mut sites {
        site.chance = site.after.bytes.chance_of_difference(&site.before.bytes);
    }
    sites
}

/// Benjamini and Hochberg: the most sites such that the `n`th smallest chance is at most `level * n / all`.
fn moved(chances: &[f64], level: f64) -> Vec<bool> {
    let order = ranked(chances.len(), &|a, b| chances[a].total_cmp(&chances[b]));
    let all = chances.len() as f64;
    let count = (1..=order.len())
        .rev()
        .find(|n| chances[order[n - 1] as usize] <= level * *n as f64 / all)
        .unwrap_or(0);
    let mut moved = vec![false; chances.len()];
    for at in &order[..count] {
        moved[*at as usize] = true;
    }
    moved
}

fn keeps(site: &Site, symbols: &Symbols, needle: &str) -> bool {
    let frames = symbols.stack(site.stack.stack, site.stack.generation);
    symbols.matches(frames, site.stack.generation, needle)
}

fn row(site: &Site, moved: bool, symbols: &Symbols, rate_bytes: u64) -> Row {
    let (before, after) = (
        site.before.bytes_figure(rate_bytes),
        site.after.bytes_figure(rate_bytes),
    );
    let (function, file, line) = &site.key;
    let mut name = function.clone();
    if !file.is_empty() {
        name.push_str(&format!(
            " {}:{line}",
            file.rsplit('/').next().unwrap_or_default()
        ));
    }
    let word = match moved {
        false => "within noise",
        true if after.value > before.value => "up",
        true => "down",
    };
    Row {
        cells: vec![
            Cell::Text(name),
            Cell::Text(word.to_owned()),
            Cell::Figure(before),
            Cell::Figure(after),
            Cell::Figure(difference(&before, &after)),
            Cell::Value(site.chance),
        ],
        stacks: vec![("heaviest stack".to_owned(), frames_shown(&site.stack, symbols))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Weight;
    use crate::seeded::Seeded;

    const RATE_BYTES: u64 = 524_288;

    /// A site that allocates `bytes` in objects of one size, sampled as Go does: the distances between
    /// samples are exponential.
    fn sampled(random: &mut Seeded, size_bytes: u64, bytes: f64) -> Tally {
        let mut tally = Tally::default();
        let weight = Weight::new(size_bytes, RATE_BYTES);
        let mut at = random.exponential(RATE_BYTES as f64);
        while at < bytes {
            tally.add(&weight, 1);
            // A sample falls into an object, and the next distance begins at that object's end.
            let size = size_bytes as f64;
            at = ((at / size).floor() + 1.0) * size + random.exponential(RATE_BYTES as f64);
        }
        tally
    }

    /// `sites` sites of many sizes, of which the first `changed` allocate `factor` times as much afterwards.
    fn compared(random: &mut Seeded, sites: usize, changed: usize, factor: f64, level: f64) -> Vec<bool> {
        let chances: Vec<f64> = (0..sites)
            .map(|site| {
                let size_bytes = 16 << (site * 7 % 15);
                let bytes = RATE_BYTES as f64 * f64::from(1 << (site * 5 % 9));
                let later = if site < changed { bytes * factor } else { bytes };
                let (before, after) = (
                    sampled(random, size_bytes, bytes),
                    sampled(random, size_bytes, later),
                );
                after.bytes.chance_of_difference(&before.bytes)
            })
            .collect();
        moved(&chances, level)
    }

    #[test]
    fn without_a_change_false_alarms_stay_at_the_level() {
        let mut random = Seeded(11);
        for (level, runs, most) in [(0.05, 1_000, 0.07), (LEVEL, 1_000, 0.02)] {
            let alarms = (0..runs)
                .filter(|_| compared(&mut random, 100, 0, 1.0, level).contains(&true))
                .count();
            let share = alarms as f64 / f64::from(runs);
            println!("{share} of the lists had a false alarm at level {level}");
            assert!(
                share <= most,
                "{share} of the lists had a false alarm at level {level}"
            );
        }
    }

    #[test]
    fn a_change_of_known_size_is_found_and_few_others() {
        let mut random = Seeded(12);
        let (mut found, mut missed, mut false_alarms) = (0, 0, 0);
        for _ in 0..200 {
            // The first nine double; the last of them is expected to have 256 samples before and 512 after.
            let marks = compared(&mut random, 100, 9, 2.0, LEVEL);
            found += usize::from(marks[7]);
            missed += usize::from(!marks[7]);
            false_alarms += marks[9..].iter().filter(|moved| **moved).count();
        }
        println!("found {found}, missed {missed}, false alarms {false_alarms}");
        assert!(
            found >= 190,
            "256 samples that become 512 were found in {found} of 200 lists"
        );
        assert!(false_alarms <= 20, "{false_alarms} false alarms in 200 lists");
    }

    #[test]
    fn the_list_is_corrected_for_its_length() {
        let cases: [(&[f64], &[bool]); 5] = [
            (&[], &[]),
            (&[0.02], &[false]),
            (&[0.01], &[true]),
            (&[0.01, 1.0], &[false, false]),
            // The first alone would fail its own bound; the third carries it.
            (&[0.0029, 0.004, 0.0074, 0.9], &[true, true, true, false]),
        ];
        for (chances, expected) in cases {
            assert_eq!(moved(chances, 0.01), expected, "{chances:?}");
        }
    }

    #[test]
    fn windows_have_equal_lengths() {
        for (asked, expected) in [
            ((10, 20), Some((0, 10, 20, false))),
            ((11, 20), Some((2, 11, 20, false))),
            ((0, 20), Some((0, 10, 20, true))),
            ((5, 20), Some((6, 13, 20, true))),
            ((0, 1), None),
            ((7, 7), None),
            ((9, 7), None),
        ] {
            let got = halves(asked).map(|h| (h.from, h.middle, h.to, h.halved));
            assert_eq!(got, expected, "{asked:?}");
        }
    }
}
