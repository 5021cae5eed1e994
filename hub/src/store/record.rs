//! The bytes of a segment file, which are those of every session in a file ([`heaptide_protocol::log`]), and the
//! files' names.

pub(crate) use heaptide_protocol::log::{FILE_HEAD as SEGMENT_HEAD, RECORD_HEAD_BYTES, RecordHead};

/// `log-<first sequence number>.htl`, so that a segment is found by its name alone.
pub(crate) fn segment_name(base_seq: u64) -> String {
    format!("log-{base_seq:020}.htl")
}

pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".htl")?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_round_trip_and_reject() {
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
        for bad in [
            "",
            "log-.htl",
            "log-1.htl",
            "log-00000000000000000001.tmp",
            "meta.json",
        ] {
            assert_eq!(parse_segment_name(bad), None, "{bad:?}");
        }
    }
}
