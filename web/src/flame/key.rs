//! The name of a flame node that outlives a refresh, so that selection, zoom and links hold on to it.

use std::fmt;
use std::str::FromStr;

use heaptide_analysis::views::Flame;

/// A hash of the path from the root: function, file and line of each frame. 64 bits: in a graph of 100,000
/// nodes two share a key once in four billion graphs. Written as 16 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeKey(pub u64);

/// One key per node, in the graph's order.
pub(super) fn keys_of(flame: &Flame) -> Vec<NodeKey> {
    let strings: Vec<u64> = flame.strings.iter().map(|text| fnv(text)).collect();
    let of = |id: u32| strings.get(id as usize).copied().unwrap_or(0);
    let mut keys: Vec<NodeKey> = Vec::with_capacity(flame.nodes.len());
    for (index, node) in flame.nodes.iter().enumerate() {
        let parent = if (node.parent as usize) < index {
            keys[node.parent as usize].0
        } else {
            0
        };
        let mut key = mix(parent ^ 0x9e37_79b9_7f4a_7c15);
        for part in [
            of(node.function),
            of(node.file),
            u64::from(node.line) << 1 | u64::from(node.inlined),
        ] {
            key = mix(key ^ part);
        }
        keys.push(NodeKey(key));
    }
    keys
}

pub fn node_of(flame: &Flame, key: NodeKey) -> Option<u32> {
    keys_of(flame)
        .iter()
        .position(|&other| other == key)
        .map(|index| index as u32)
}

/// The nodes from the root down to this one.
pub fn path_of(flame: &Flame, node: u32) -> Vec<u32> {
    let mut path = Vec::new();
    let mut at = node;
    while let Some(found) = flame.nodes.get(at as usize) {
        path.push(at);
        // A parent comes before its children; a root points at itself.
        if found.parent >= at {
            break;
        }
        at = found.parent;
    }
    path.reverse();
    path
}

impl fmt::Display for NodeKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a flame node's key has 16 hex digits")]
pub struct BadNodeKey;

impl FromStr for NodeKey {
    type Err = BadNodeKey;

    fn from_str(text: &str) -> Result<Self, BadNodeKey> {
        let is_hex = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !is_hex {
            return Err(BadNodeKey);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| BadNodeKey)
    }
}

fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finaliser of SplitMix64: every input bit reaches every output bit.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::sample;
    use super::*;

    #[test]
    fn keys_survive_new_neighbours_and_new_string_ids() {
        let old = sample::flame(&[("a", 0, 6.0), ("b", 1, 4.0), ("c", 1, 2.0)]);
        let new = sample::flame(&[("z", 0, 9.0), ("a", 0, 6.0), ("c", 1, 3.0), ("b", 1, 2.0)]);
        let (before, after) = (keys_of(&old), keys_of(&new));
        assert_eq!([before[0], before[1], before[2]], [after[1], after[3], after[2]]);
        assert_eq!(node_of(&new, before[1]), Some(3));
        assert_eq!(node_of(&old, after[0]), None);
    }

    #[test]
    fn same_frame_under_another_parent_is_another_node() {
        let flame = sample::flame(&[
            ("a", 0, 6.0),
            ("x", 1, 4.0),
            ("b", 0, 2.0),
            ("x", 1, 2.0),
            ("x", 2, 1.0),
        ]);
        let keys: HashSet<_> = keys_of(&flame).into_iter().collect();
        assert_eq!(keys.len(), 5);
        assert_eq!(path_of(&flame, 4), [2, 3, 4]);
        assert_eq!(path_of(&flame, 9), [] as [u32; 0]);
    }

    #[test]
    fn text_form() {
        let key = NodeKey(0x00ab_cdef_0123_4567);
        assert_eq!(key.to_string(), "00abcdef01234567");
        assert_eq!("00abcdef01234567".parse(), Ok(key));
        for bad in [
            "",
            "abc",
            "+0abcdef01234567",
            "00abcdef0123456g",
            "000abcdef01234567",
        ] {
            assert_eq!(bad.parse::<NodeKey>(), Err(BadNodeKey), "{bad}");
        }
    }
}
