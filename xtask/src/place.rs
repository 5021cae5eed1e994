//! Where things are: the work tree, the cache folder and what lies in it.
//!
//! All child builds share one target folder in the cache, so that a second clone, a second command and
//! CI on the same machine start warm. A caller's own `CARGO_TARGET_DIR` wins.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// `$HEAPTIDE_CACHE`, or `heaptide` in the user's cache folder.
    pub(crate) cache: PathBuf,
    /// The target folder of every cargo that is started from here.
    pub(crate) target: PathBuf,
}

impl Place {
    pub(crate) fn find() -> Result<Self> {
        // Of the run, not of the build: with a shared target folder, another clone may have built this.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("the xtask crate has no parent folder")?
            .to_path_buf();
        let cache = cache_folder(
            env::var_os("HEAPTIDE_CACHE"),
            env::var_os("XDG_CACHE_HOME"),
            env::var_os("HOME"),
        )
        .context("no cache folder: set HEAPTIDE_CACHE, XDG_CACHE_HOME or HOME")?;
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| cache.join("target"), PathBuf::from);
        let target = if target.is_absolute() {
            target
        } else {
            env::current_dir()?.join(target)
        };
        Ok(Self { root, cache, target })
    }

    /// What a build leaves: `web/` with the console, `heaptide.bpf.o` and the binary `heaptide`.
    pub(crate) fn dist(&self) -> PathBuf {
        self.root.join("dist")
    }

    /// Programs that setup installs for this project only.
    pub(crate) fn tools(&self) -> PathBuf {
        self.cache.join("tools")
    }

    /// Output of quiet steps, one file per step, for when a step fails.
    pub(crate) fn logs(&self) -> PathBuf {
        self.cache.join("logs")
    }

    /// The `go` of one Go release, whether it is there or not.
    pub(crate) fn go(&self, version: &str) -> PathBuf {
        self.cache.join("go").join(version).join("go/bin/go")
    }

    /// Programs of others that the tests watch, each in a folder of its own.
    pub(crate) fn strangers(&self) -> PathBuf {
        self.cache.join("strangers")
    }

    /// Screenshots, recordings and reports that tests keep.
    pub(crate) fn test_output(&self) -> PathBuf {
        self.root.join("test-output")
    }

    /// `PATH` with the project's own tools first.
    pub(crate) fn path_variable(&self) -> OsString {
        let old = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.tools().join("bin")).chain(env::split_paths(&old));
        // Joining fails only when a folder's name holds a colon, which then was no PATH entry either.
        env::join_paths(folders).unwrap_or(old)
    }
}

/// The first of the given places that is set and not empty.
fn cache_folder(own: Option<OsString>, xdg: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let set = |value: Option<OsString>| value.filter(|v| !v.is_empty()).map(PathBuf::from);
    set(own)
        .or_else(|| set(xdg).map(|folder| folder.join("heaptide")))
        .or_else(|| set(home).map(|folder| folder.join(".cache/heaptide")))
}

/// The first program of this name in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_comes_from_the_nearest_setting() {
        let cases = [
            (Some("/own"), Some("/xdg"), Some("/home/u"), Some("/own")),
            (Some(""), Some("/xdg"), Some("/home/u"), Some("/xdg/heaptide")),
            (None, Some("/xdg"), None, Some("/xdg/heaptide")),
            (None, None, Some("/home/u"), Some("/home/u/.cache/heaptide")),
            (None, Some(""), None, None),
        ];
        for (own, xdg, home, expect) in cases {
            let got = cache_folder(own.map(Into::into), xdg.map(Into::into), home.map(Into::into));
            assert_eq!(got.as_deref(), expect.map(Path::new), "{own:?} {xdg:?} {home:?}");
        }
    }
}
