//! Mapping calls as event rows.

use super::{TAG_MAP_ANONYMOUS, TAG_MAP_FILE, TAG_MAP_HUGETLB, TAG_MAP_UNKNOWN};
use crate::linux::bpf::MappingCall;
use heaptide_protocol::TagId;
use heaptide_protocol::events::{EventKind, OtherRow};

pub(super) fn mapping_row(call: MappingCall, result: i64) -> (EventKind, OtherRow) {
    // include/uapi/asm-generic/mman-common.h
    const MAP_ANONYMOUS: u32 = 0x20;
    const MAP_HUGETLB: u32 = 0x4_0000;
    let row = |size_bytes, address, detail, heap_tag| OtherRow {
        size_bytes,
        address,
        detail,
        heap_tag,
        ..OtherRow::default()
    };
    match call {
        MappingCall::Mmap { len, prot, flags, .. } => {
            let tag: TagId = match flags {
                flags if flags & MAP_HUGETLB != 0 => TAG_MAP_HUGETLB,
                flags if flags & MAP_ANONYMOUS != 0 => TAG_MAP_ANONYMOUS,
                _ => TAG_MAP_FILE,
            };
            (
                EventKind::Mmap,
                row(len, result as u64, u64::from(prot) << 32 | u64::from(flags), tag),
            )
        }
        MappingCall::Munmap { addr, len } => (EventKind::Munmap, row(len, addr, 0, TAG_MAP_UNKNOWN)),
        MappingCall::Mremap { old_len, new_len, .. } => (
            EventKind::Mremap,
            row(new_len, result as u64, old_len, TAG_MAP_UNKNOWN),
        ),
        MappingCall::Madvise { addr, len, advice } => (
            EventKind::Madvise,
            row(len, addr, u64::from(advice.unsigned_abs()), TAG_MAP_UNKNOWN),
        ),
        MappingCall::Brk { .. } => (EventKind::Brk, row(0, result as u64, 0, TAG_MAP_ANONYMOUS)),
    }
}
