//! Which functions of a Go binary allocate: a set that every allocation passes exactly once.
//!
//! Up to Go 1.26 that is `runtime.mallocgc`. From 1.27 on the compiler calls functions made for one size class
//! (`runtime/malloc_generated.go`) past `mallocgc`, which itself calls them too: then the set is those and the
//! ones that `mallocgc` ends in. Their slow paths are called by them and are left out. In 1.26 an experiment
//! (`sizespecializedmalloc`) does the same under other names; under `-race`, `-asan` and `-msan` it is off.

use crate::binary::GoBinary;

const GENERAL: &str = "runtime.mallocgc";
/// Called by `mallocgc` (`runtime/malloc.go`).
const SHARED: [&str; 5] = [
    "SmallNoscan",
    "SmallScanNoHeader",
    "SmallScanHeader",
    "Large",
    "Tiny",
];
/// Called by the compiler, and by `mallocgc` through a table; a number follows.
const SPECIALISED: [&str; 5] = [
    "TinySC",
    "TinySize",
    "SmallNoScanSC",
    "SmallScanNoHeaderSC",
    "SmallScanHeaderSC",
];

impl<B: AsRef<[u8]>> GoBinary<B> {
    /// The names of the functions to probe so that each allocation is seen once: one up to Go 1.26, 18 in
    /// Go 1.27. Empty if the binary has none.
    pub fn allocators(&self) -> Vec<&str> {
        let mut shared = Vec::new();
        let mut specialised = Vec::new();
        let mut general = Vec::new();
        for function in self.functions() {
            match function.name.strip_prefix(GENERAL) {
                Some("") => general.push(function.name),
                Some(rest) if SHARED.contains(&rest) => shared.push(function.name),
                Some(rest) if is_specialised(rest) => specialised.push(function.name),
                _ => {}
            }
        }
        let mut names = if specialised.is_empty() {
            general
        } else {
            specialised.append(&mut shared);
            specialised
        };
        // A wrapper for assembly has the name of what it wraps.
        names.sort_unstable();
        names.dedup();
        names
    }
}

fn is_specialised(rest: &str) -> bool {
    SPECIALISED.iter().any(|prefix| {
        rest.strip_prefix(prefix)
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::is_specialised;

    #[test]
    fn slow_paths_are_no_leaves() {
        for (rest, expected) in [
            ("TinySC2", true),
            ("TinySize15", true),
            ("SmallNoScanSC7", true),
            ("SmallScanNoHeaderSC26", true),
            ("SmallNoScanSC", false),
            ("TinySlowPath", false),
            ("SmallScanSlowPath", false),
            ("SmallNoScanSlowPath", false),
            ("SmallNoScanSC7.func1", false),
            ("SmallNoscanReuse", false),
        ] {
            assert_eq!(is_specialised(rest), expected, "{rest}");
        }
    }
}
