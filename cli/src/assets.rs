//! The console and the eBPF object that `cargo xtask build` put into this binary.
//!
//! Console files are kept compressed with brotli, the form that browsers ask for; the hub unpacks them for a
//! client that doesn't. A binary from a plain `cargo build` has neither part, and
//! [`NO_CONSOLE`] and [`NO_BPF_OBJECT`] are the sentences for that. Serving is the hub's business.

/// What to say when the console is asked for and was not built in.
pub(crate) const NO_CONSOLE: &str = "this heaptide was built without the console: run `cargo xtask build`";
/// What to say when a program is to be watched and the eBPF object was not built in.
pub(crate) const NO_BPF_OBJECT: &str =
    "this heaptide was built without its eBPF programs: run `cargo xtask build`";

/// One file of the console.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asset {
    /// Without a leading slash: `index.html`, `app-0123456789abcdef.js`.
    pub(crate) path: &'static str,
    pub(crate) content_type: &'static str,
    /// A hash of the contents, without quotation marks.
    pub(crate) etag: &'static str,
    /// Whether the path changes with the contents, so that it may be kept for ever.
    pub(crate) immutable: bool,
    pub(crate) brotli: &'static [u8],
}

/// The console's files; empty when it was not built in.
pub(crate) fn console() -> &'static [Asset] {
    table::ASSETS
}

/// The eBPF programs, an ELF object for `bpfel-unknown-none`, aligned as its headers ask.
pub(crate) fn bpf_object() -> Option<&'static [u8]> {
    table::BPF_OBJECT.map(|object| &object.0)
}

/// `include_bytes!` alone promises no alignment, and ELF readers refuse what is not on eight bytes.
#[derive(Debug)]
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

mod table {
    use super::{Aligned, Asset};

    include!(concat!(env!("OUT_DIR"), "/assets.rs"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_unpacks() {
        for asset in console() {
            let mut plain = Vec::new();
            brotli_decompressor::BrotliDecompress(&mut &asset.brotli[..], &mut plain).unwrap();
            assert!(!plain.is_empty(), "{}", asset.path);
        }
    }

    #[test]
    fn the_object_lies_where_an_elf_reader_takes_it() {
        if let Some(object) = bpf_object() {
            assert_eq!(object.as_ptr().align_offset(8), 0);
            assert_eq!(object.get(..4), Some(&b"\x7fELF"[..]));
        }
    }

    #[test]
    fn a_console_has_one_index_and_only_that_keeps_its_name() {
        let fixed: Vec<&str> = console()
            .iter()
            .filter(|file| !file.immutable)
            .map(|file| file.path)
            .collect();
        let expect: &[&str] = if console().is_empty() {
            &[]
        } else {
            &["index.html"]
        };
        assert_eq!(fixed, expect);
    }
}
