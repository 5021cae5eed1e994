//! Sorting, once: each use of the standard sort is compiled for its own type and closure, which costs the
//! console 1 to 2 KB of download.

use std::cmp::Ordering;

/// Sorts by an order without equals; with equals, which of them comes first is not said.
pub fn rank(items: &mut [u32], compare: &dyn Fn(usize, usize) -> Ordering) {
    items.sort_unstable_by(|a, b| compare(*a as usize, *b as usize));
}

/// The numbers `0..count` in the order that `compare` gives; equals stay as they are.
pub fn ranked(count: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<u32> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    rank(&mut order, &|a, b| compare(a, b).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::ranked;

    #[test]
    fn ranks_and_keeps_equals() {
        let values = [3, 1, 2, 1];
        assert_eq!(
            ranked(values.len(), &|a, b| values[a].cmp(&values[b])),
            [1, 3, 2, 0]
        );
        assert_eq!(ranked(0, &|_, _| unreachable!()), [0_u32; 0]);
    }
}
