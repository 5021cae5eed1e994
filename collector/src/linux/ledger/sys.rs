//! Which pages of a range are resident, asked of the kernel in one call: `PAGEMAP_SCAN`
//! (Documentation/admin-guide/mm/pagemap.rst, Linux 6.7).

#![expect(unsafe_code, reason = "ioctl(2) has no safe form")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// include/uapi/linux/fs.h, `struct pm_scan_arg`.
#[repr(C)]
#[derive(Default)]
struct ScanArgument {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// include/uapi/linux/fs.h, `struct page_region`.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PageRegion {
    pub(super) start: u64,
    pub(super) end: u64,
    categories: u64,
}

impl PageRegion {
    pub(super) fn is_huge(&self) -> bool {
        self.categories & PAGE_IS_HUGE != 0
    }
}

const PAGE_IS_PRESENT: u64 = 1 << 3;
const PAGE_IS_PFNZERO: u64 = 1 << 5;
const PAGE_IS_HUGE: u64 = 1 << 6;
/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: libc::c_ulong =
    3 << 30 | (size_of::<ScanArgument>() as libc::c_ulong) << 16 | (b'f' as libc::c_ulong) << 8 | 16;

/// Fills `regions` with the resident ones from `start` on, and says how many they are and where to go on. Pages
/// that are all zeros and shared by everybody (the zero page) are not resident; `smaps` doesn't count them either.
pub(super) fn scan(
    pagemap: &File,
    start: u64,
    end: u64,
    regions: &mut [PageRegion],
) -> io::Result<(usize, u64)> {
    let mut argument = ScanArgument {
        size: size_of::<ScanArgument>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        category_inverted: PAGE_IS_PFNZERO,
        category_mask: PAGE_IS_PRESENT | PAGE_IS_PFNZERO,
        return_mask: PAGE_IS_HUGE,
        ..ScanArgument::default()
    };
    // SAFETY: the kernel reads and writes one `ScanArgument`, whose size it checks, and writes at most
    // `vec_len` regions to `vec`, which is borrowed for this call.
    let filled = unsafe { libc::ioctl(pagemap.as_raw_fd(), PAGEMAP_SCAN, &raw mut argument) };
    let filled = usize::try_from(filled).map_err(|_| io::Error::last_os_error())?;
    Ok((filled, argument.walk_end))
}
