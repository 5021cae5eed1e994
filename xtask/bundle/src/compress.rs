//! Brotli at its highest level, which takes seconds, kept by the hash of what was compressed.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::names;

const QUALITY: u32 = 11;
/// The largest window that browsers must accept (RFC 7932).
const WINDOW_BITS: u32 = 24;

pub(crate) fn brotli(bytes: &[u8], cache: &Path) -> Result<Vec<u8>> {
    let kept = cache.join(format!(
        "{}-{}-q{QUALITY}w{WINDOW_BITS}.br",
        names::hash(bytes),
        bytes.len()
    ));
    if let Ok(packed) = fs::read(&kept) {
        return Ok(packed);
    }
    let mut writer = brotli::CompressorWriter::new(Vec::new(), 64 * 1024, QUALITY, WINDOW_BITS);
    writer.write_all(bytes).context("brotli failed")?;
    let packed = writer.into_inner();
    crate::write(&kept, &packed)?;
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back_and_is_kept() {
        let cache = std::env::temp_dir().join(format!("heaptide-brotli-{}", std::process::id()));
        let text = b"the same words, the same words, the same words".repeat(20);
        let packed = brotli(&text, &cache).unwrap();
        assert!(packed.len() < text.len() / 4);
        let mut back = Vec::new();
        brotli::BrotliDecompress(&mut packed.as_slice(), &mut back).unwrap();
        assert_eq!(back, text);
        assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
        assert_eq!(brotli(&text, &cache).unwrap(), packed);
        fs::remove_dir_all(&cache).unwrap();
    }
}
