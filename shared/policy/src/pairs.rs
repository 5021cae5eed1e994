//! A map of text to text that is small: a sorted list, which in the browser costs a tenth of a tree's code.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// One value a key, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.place(key).ok().map(|at| self.0[at].1.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In place of the value that the key had.
    pub(crate) fn insert(&mut self, key: String, value: String) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }

    /// Sorted once, so that many of them in the wrong order cost no more than they should. Of one key's values the
    /// last stays.
    fn sorted(mut pairs: Vec<(String, String)>) -> Self {
        pairs.reverse();
        pairs.sort_by(|one, other| one.0.cmp(&other.0));
        pairs.dedup_by(|later, kept| later.0 == kept.0);
        Self(pairs)
    }
}

impl FromIterator<(String, String)> for Pairs {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        Self::sorted(pairs.into_iter().collect())
    }
}

impl Serialize for Pairs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = Pairs;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a map of text to text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs::sorted(pairs))
            }
        }
        deserializer.deserialize_map(Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_what_a_tree_of_the_same_would_be() {
        let cases: [&[(&str, &str)]; 5] = [
            &[],
            &[("b", "1"), ("a", "2")],
            &[("a", "1"), ("a", "2")],
            &[("c", "3"), ("a", "1"), ("c", "4"), ("b", "2"), ("a", "5")],
            &[("", ""), ("ä", "x"), ("z", "y")],
        ];
        for pairs in cases {
            let owned = || {
                pairs
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            };
            let tree: BTreeMap<String, String> = owned().collect();
            let collected: Pairs = owned().collect();
            let mut inserted = Pairs::default();
            owned().for_each(|(key, value)| inserted.insert(key, value));
            assert_eq!(collected, inserted);
            let listed: Vec<_> = collected.iter().collect();
            let wanted: Vec<_> = tree
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect();
            assert_eq!(listed, wanted);
            for key in ["", "a", "b", "c", "d", "z", "ä"] {
                assert_eq!(collected.get(key), tree.get(key).map(String::as_str));
            }
        }
    }
}
