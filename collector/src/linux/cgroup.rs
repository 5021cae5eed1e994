//! How long the process's control group was kept from running because its quota was used up (`cpu.stat`).
//!
//! Version 2 of control groups, or the `cpu` controller of version 1. Left out: quotas of the groups above it.

use super::proc;
use std::path::{Path, PathBuf};

/// The `cpu.stat` of one group.
#[derive(Debug, Clone)]
pub struct CpuStat {
    path: PathBuf,
}

/// Since the group was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Throttled {
    /// Enforcement periods in which the quota was used up.
    pub periods: u64,
    /// Summed over processors.
    pub length_ns: u64,
}

impl CpuStat {
    /// That of a process; `None` if its group can have no quota or can't be seen from here.
    pub fn of(pid: u32) -> Option<Self> {
        let groups = proc::read(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = proc::read("/proc/self/mountinfo").ok()?;
        paths(&groups, &mounts)
            .into_iter()
            .map(|path| Self { path })
            .find(|stat| stat.read().is_some())
    }

    /// `None` once the group is gone.
    pub fn read(&self) -> Option<Throttled> {
        parse(&proc::read(&self.path).ok()?)
    }
}

/// Where the file may be: first version 1 if its `cpu` controller is in use, then version 2.
fn paths(groups: &str, mounts: &str) -> Vec<PathBuf> {
    let group_of = |wanted: &dyn Fn(&str) -> bool| {
        groups.lines().find_map(|line| {
            // `4:cpu,cpuacct:/path`, and `0::/path` in version 2.
            let mut parts = line.splitn(3, ':').skip(1);
            let controllers = parts.next()?;
            wanted(controllers).then(|| parts.next())?
        })
    };
    let has_cpu = |list: &str| list.split(',').any(|word| word == "cpu");
    let mount_of = |wanted: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            // `33 31 0:30 /root /place options … - type source options`
            let (before, after) = line.split_once(" - ")?;
            let mut after = after.split(' ');
            let (kind, options) = (after.next()?, after.nth(1)?);
            if !wanted(kind, options) {
                return None;
            }
            let mut before = before.split(' ').skip(3);
            Some((before.next()?, before.next()?))
        })
    };
    let join = |group: &str, (root, place): (&str, &str)| {
        // The mount may show a part of the tree only.
        let inside = group.strip_prefix(root.trim_end_matches('/')).unwrap_or(group);
        Path::new(place)
            .join(inside.trim_start_matches('/'))
            .join("cpu.stat")
    };
    let old = group_of(&has_cpu).zip(mount_of(&|kind, options| kind == "cgroup" && has_cpu(options)));
    let new = group_of(&|controllers| controllers.is_empty()).zip(mount_of(&|kind, _| kind == "cgroup2"));
    [old, new]
        .into_iter()
        .flatten()
        .map(|(group, mount)| join(group, mount))
        .collect()
}

fn parse(text: &str) -> Option<Throttled> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(' ')?
                .trim()
                .parse::<u64>()
                .ok()
        })
    };
    let micros = || value("throttled_usec").map(|micros| micros.saturating_mul(1000));
    Some(Throttled {
        periods: value("nr_throttled")?,
        length_ns: value("throttled_time").or_else(micros)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found() {
        let old = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
                   34 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n";
        let new = "29 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let part = "29 23 0:26 /pods/a /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let cases = [
            (
                "3:cpuset:/x\n1:cpu,cpuacct:/a/b\n",
                old,
                vec!["/sys/fs/cgroup/cpu/a/b/cpu.stat"],
            ),
            ("0::/a/b\n", new, vec!["/sys/fs/cgroup/a/b/cpu.stat"]),
            ("0::/pods/a/c\n", part, vec!["/sys/fs/cgroup/c/cpu.stat"]),
            ("0::/\n", new, vec!["/sys/fs/cgroup/cpu.stat"]),
            ("0::/\n", old, vec![]),
            ("", "", vec![]),
        ];
        for (groups, mounts, expected) in cases {
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(paths(groups, mounts), expected, "{groups:?}");
        }
    }

    #[test]
    fn both_units_are_read() {
        let cases = [
            (
                "nr_periods 9\nnr_throttled 3\nthrottled_time 7000\n",
                Some((3, 7000)),
            ),
            (
                "usage_usec 1\nnr_throttled 3\nthrottled_usec 7\n",
                Some((3, 7000)),
            ),
            ("usage_usec 1\n", None),
            ("nr_throttled x\nthrottled_usec 7\n", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(periods, length_ns)| Throttled { periods, length_ns });
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }
}
