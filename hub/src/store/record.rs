//! The bytes of a segment file, which are those of every session in a file ([`heaptide_protocol::log`]), and the
//! files' names.

use super::index::Summary;
pub(crate) use heaptide_protocol::log::{FILE_HEAD as SEGMENT_HEAD, RECORD_HEAD_BYTES, RecordHead};

/// What the name of a segment's file says, so that the folder explains itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentName {
    /// The first sequence number that can be in it.
    pub(crate) base_seq: u64,
    /// A summary of expired frames, and the last one of them.
    pub(crate) summary: Option<(Summary, u64)>,
}

/// `log-<first sequence number>.htl`.
pub(crate) fn segment_name(base_seq: u64) -> String {
    format!("log-{base_seq:020}.htl")
}

/// `log-<first>-for-<first it stands for>-<last>-<first with sums>.htl`: in the order of the others.
pub(crate) fn summary_name(base_seq: u64, last_seq: u64, summary: Summary) -> String {
    let Summary {
        from_seq,
        sums_from_seq,
    } = summary;
    format!("log-{base_seq:020}-for-{from_seq:020}-{last_seq:020}-{sums_from_seq:020}.htl")
}

pub(crate) fn parse_segment_name(name: &str) -> Option<SegmentName> {
    let number = |digits: &str| (digits.len() == 20).then(|| digits.parse().ok()).flatten();
    let inner = name.strip_prefix("log-")?.strip_suffix(".htl")?;
    let Some((base_seq, stands_for)) = inner.split_once("-for-") else {
        return Some(SegmentName {
            base_seq: number(inner)?,
            summary: None,
        });
    };
    let mut numbers = stands_for.split('-').map(number);
    let mut next = || numbers.next().flatten();
    let (from_seq, last_seq, sums_from_seq) = (next()?, next()?, next()?);
    let summary = Summary {
        from_seq,
        sums_from_seq,
    };
    Some(SegmentName {
        base_seq: number(base_seq)?,
        summary: Some((summary, last_seq)),
    })
    .filter(|_| numbers.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_round_trip_and_reject() {
        let plain = |base_seq| SegmentName {
            base_seq,
            summary: None,
        };
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(plain(u64::MAX)));
        let summary = Summary {
            from_seq: 1,
            sums_from_seq: 8,
        };
        let name = summary_name(7, 9, summary);
        let expected = SegmentName {
            base_seq: 7,
            summary: Some((summary, 9)),
        };
        assert_eq!(parse_segment_name(&name), Some(expected));
        assert!(segment_name(6) < name && name < segment_name(10));
        for bad in [
            "",
            "log-.htl",
            "log-1.htl",
            "log-00000000000000000001.tmp",
            "log-00000000000000000001-for-1-2-3.htl",
            "log-00000000000000000001-for-00000000000000000001-00000000000000000001.htl",
            "meta.json",
        ] {
            assert_eq!(parse_segment_name(bad), None, "{bad:?}");
        }
    }
}
