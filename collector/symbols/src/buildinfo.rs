//! What the Go linker says of a build: version, main package, modules, settings.
//!
//! Format: a 32-byte header `\xff Go buildinf:`, pointer size, flags; with flag 2
//! (Go 1.18 and later) two varint-prefixed strings follow. Source:
//! `debug/buildinfo/buildinfo.go`. The section survives `-s -w`.

use crate::bytes::{tail, u8_at, uvarint32};
use crate::elf::Elf;
use crate::version::GoVersion;

const MAGIC: &[u8] = b"\xff Go buildinf:";
const ALIGN: usize = 16;
const HEADER_BYTES: u64 = 32;
const FLAG_INLINE_STRINGS: u8 = 2;
/// The module text is framed by 16 bytes on either side, so that it can be found in a raw dump.
const SENTINEL_BYTES: usize = 16;
/// The largest module lists are about 100 KiB.
const MAX_TEXT_BYTES: u32 = 4 << 20;

/// Build information of a Go binary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildInfo {
    /// Toolchain version as written, e.g. `go1.27.3`.
    pub go_version: String,
    /// The module text of `go version -m`, without its frame; may be empty.
    pub modules: String,
}

impl BuildInfo {
    pub(crate) fn find(bytes: &[u8], elf: &Elf) -> Option<Self> {
        let section = elf
            .section(bytes, ".go.buildinfo")
            .and_then(|s| Self::read(bytes, s.offset));
        section.or_else(|| {
            // No section headers: the blob is 16-byte aligned in a data segment. (Programs
            // that read build information, like this one, have the magic elsewhere.)
            elf.segments.iter().filter(|s| s.writable).find_map(|segment| {
                let start = usize::try_from(segment.offset).ok()?;
                let end = start.checked_add(usize::try_from(segment.file_bytes).ok()?)?;
                let mut blocks = bytes.get(start..end)?.chunks(ALIGN).enumerate();
                blocks.find_map(|(i, block)| {
                    let found = block
                        .starts_with(MAGIC)
                        .then(|| Self::read(bytes, (start + i * ALIGN) as u64))??;
                    found.version().is_some().then_some(found)
                })
            })
        })
    }

    fn read(bytes: &[u8], offset: u64) -> Option<Self> {
        let blob = tail(bytes, offset)?;
        if !blob.starts_with(MAGIC) || u8_at(blob, 15)? & FLAG_INLINE_STRINGS == 0 {
            return None;
        }
        let mut rest = tail(blob, HEADER_BYTES)?;
        let go_version = take_text(&mut rest)?;
        let framed = take_text(&mut rest).unwrap_or_default();
        let modules = framed
            .get(SENTINEL_BYTES..framed.len().saturating_sub(SENTINEL_BYTES))
            .map(String::from_utf8_lossy)
            .unwrap_or_default();
        Some(Self {
            go_version: String::from_utf8_lossy(go_version).into_owned(),
            modules: modules.into_owned(),
        })
    }

    /// The version in numbers, if it has the usual form.
    pub fn version(&self) -> Option<GoVersion> {
        GoVersion::parse(&self.go_version)
    }

    /// Import path of the main package, e.g. `example.com/shop/cmd/server`.
    pub fn main_package(&self) -> Option<&str> {
        self.fields("path").next()
    }

    /// Path of the module that the main package is in.
    pub fn main_module(&self) -> Option<&str> {
        self.fields("mod").next()?.split('\t').next()
    }

    /// Version of the module that the main package is in, e.g. `v1.2.0`; `(devel)` where it has none.
    pub fn main_version(&self) -> Option<&str> {
        self.fields("mod").next()?.split('\t').nth(1)
    }

    /// A build setting, e.g. `-ldflags`, `CGO_ENABLED`, `vcs.revision`, `vcs.modified`.
    pub fn setting(&self, key: &str) -> Option<&str> {
        self.fields("build")
            .find_map(|setting| setting.split_once('=').filter(|(k, _)| *k == key))
            .map(|(_, v)| v)
    }

    fn fields<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.modules
            .lines()
            .filter_map(move |line| line.split_once('\t').filter(|(k, _)| *k == kind))
            .map(|(_, v)| v)
    }
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = uvarint32(rest).filter(|&len| len <= MAX_TEXT_BYTES)?;
    let (text, after) = rest.split_at_checked(len as usize)?;
    *rest = after;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(version: &str, modules: &str) -> Vec<u8> {
        let mut blob = MAGIC.to_vec();
        blob.extend([8, FLAG_INLINE_STRINGS]);
        blob.resize(HEADER_BYTES as usize, 0);
        blob.push(version.len() as u8);
        blob.extend(version.as_bytes());
        blob.push((modules.len() + 2 * SENTINEL_BYTES) as u8);
        blob.extend([0x30; SENTINEL_BYTES]);
        blob.extend(modules.as_bytes());
        blob.extend([0x31; SENTINEL_BYTES]);
        blob
    }

    #[test]
    fn fields_of_a_build() {
        let text = "path\tex.com/a/cmd\nmod\tex.com/a\tv1.2.0\th1:x=\nbuild\t-ldflags=\"-s -w\"\nbuild\tvcs.revision=0abc\n";
        let info = BuildInfo::read(&blob("go1.27.3", text), 0).unwrap();
        assert_eq!(info.version().unwrap().minor, 27);
        assert_eq!(info.main_package(), Some("ex.com/a/cmd"));
        assert_eq!(info.main_module(), Some("ex.com/a"));
        assert_eq!(info.main_version(), Some("v1.2.0"));
        assert_eq!(info.setting("vcs.revision"), Some("0abc"));
        assert_eq!(info.setting("-ldflags"), Some("\"-s -w\""));
        assert_eq!(info.setting("vcs.time"), None);
    }

    #[test]
    fn every_truncation_is_an_answer_or_none() {
        let whole = blob("go1.27.3", "path\ta\n");
        for len in 0..whole.len() {
            let cut = BuildInfo::read(&whole[..len], 0);
            assert!(cut.is_none_or(|info| info.go_version == "go1.27.3"), "{len}");
        }
    }
}
