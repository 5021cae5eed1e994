//! The steps, in the order in which a failure is cheapest to find.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Options;
use super::counts::Counts;
use super::run::{check, environment, tests};
use crate::place::Place;
use crate::progress::Steps;
use crate::setup::Extent;
use crate::toolchain::{Choice, Rust};
use crate::{ability, build, deny, sbom, setup, tidy};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Fmt,
    Tidy,
    Deny,
    Clippy,
    Native,
    Wasm,
    Distro,
    Ebpf,
    E2e,
}

/// How a step ended that did not break.
#[derive(Debug)]
pub(crate) enum Ended {
    /// One check, passed.
    Passed,
    /// Tests, counted.
    Counted(Counts),
    /// Not possible on this machine, and why.
    Skipped(String),
}

/// Which step an integration test belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `kernel*.rs` in any crate: loads eBPF programs.
    Kernel,
    /// Everything else in `e2e/tests/`.
    E2e,
    /// The rest.
    Native,
}

impl Step {
    pub(super) const ALL: [Self; 9] = [
        Self::Fmt,
        Self::Tidy,
        Self::Deny,
        Self::Clippy,
        Self::Native,
        Self::Wasm,
        Self::Distro,
        Self::Ebpf,
        Self::E2e,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Deny => "deny",
            Self::Clippy => "clippy",
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Distro => "distro",
            Self::Ebpf => "ebpf",
            Self::E2e => "e2e",
        }
    }

    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::Fmt => "formatting",
            Self::Tidy => "the house rules that no compiler knows",
            Self::Deny => "the dependencies: a bill of materials, licences, sources and advisories",
            Self::Clippy => "lints: native, wasm32 and eBPF",
            Self::Native => "unit and integration tests of the whole workspace",
            Self::Wasm => "wasm32 tests in Chromium, and the console's size",
            Self::Distro => "the console and the eBPF programs by Debian's toolchain",
            Self::Ebpf => "eBPF on the real kernel, with real Go programs",
            Self::E2e => "everything together, in a real browser",
        }
    }

    /// Whether its tests start what `cargo xtask build` leaves.
    pub(super) fn needs_build(self) -> bool {
        matches!(self, Self::Native | Self::Wasm | Self::Ebpf | Self::E2e)
    }
}

pub(super) fn run(place: &Place, options: &Options, step: Step) -> Result<Ended> {
    match step {
        Step::Fmt => fmt(place),
        Step::Tidy => tidy::check(place).map(|()| Ended::Passed),
        Step::Deny => sbom::write(place).and_then(|_| deny::check(place)),
        Step::Clippy => clippy(place, options.choice),
        Step::Native => native(place, options),
        Step::Wasm => wasm(place, options),
        Step::Distro => distro(place),
        Step::Ebpf => ebpf(place, options),
        Step::E2e => e2e(place, options),
    }
}

fn fmt(place: &Place) -> Result<Ended> {
    let mut workspace = Rust::own()?.cargo(place);
    check(workspace.args(["fmt", "--all", "--check"]))?;
    let mut programs = Rust::own()?.cargo(place);
    check(
        programs
            .current_dir(place.root.join("ebpf/programs"))
            .args(["fmt", "--check"]),
    )?;
    Ok(Ended::Passed)
}

fn clippy(place: &Place, choice: Choice) -> Result<Ended> {
    let strict = ["--keep-going", "--", "--deny", "warnings"];
    let own = Rust::own()?;
    let mut workspace = own.cargo(place);
    workspace.env("HEAPTIDE_DIST_DIR", place.dist());
    workspace
        .args(["clippy", "--workspace", "--all-targets"])
        .args(strict);
    let mut commands = vec![workspace];
    if own.wasm().is_some() {
        let mut console = own.cargo(place);
        console.args(["clippy", "--package", "heaptide-web"]);
        own.for_wasm(&mut console);
        console.args(strict);
        commands.push(console);
    }
    let rust = Rust::choose(choice, |rust| rust.bpf().is_some(), "eBPF programs")?;
    if rust.kind == own.kind {
        let mut programs = build::bpf_command(place, &rust, "clippy");
        programs.args(strict);
        commands.push(programs);
    }
    // All of them, so that one run shows all there is to mend.
    let failures: Vec<String> = commands
        .iter_mut()
        .filter_map(|command| check(command).err())
        .map(|error| format!("{error:#}"))
        .collect();
    if failures.is_empty() {
        return Ok(Ended::Passed);
    }
    bail!("{}", failures.join("; "))
}

fn native(place: &Place, options: &Options) -> Result<Ended> {
    let mut command = with_tests(place, options, Kind::Native)?;
    command.args(["--lib", "--bins"]);
    let mut counts = tests(&mut command)?;
    let mut docs = test_command(place, options)?;
    counts.add(tests(docs.arg("--doc"))?);
    Ok(Ended::Counted(counts))
}

fn wasm(place: &Place, options: &Options) -> Result<Ended> {
    if let Some(why) = ability::no_browser() {
        return Ok(Ended::Skipped(why));
    }
    let rust = Rust::choose(options.choice, |rust| rust.wasm().is_some(), "console")?;
    check(&mut build::bundle_build(place)?)?;
    let runner = format!("{} wasm-test", build::bundle_file(place).display());
    let mut counts = Counts::default();
    let packages = wasm_tests(&place.root)?;
    if packages.is_empty() {
        bail!("there are no tests for the browser");
    }
    for (package, names) in packages {
        let mut command = rust.cargo(place);
        command.envs(environment(place, options.require_all));
        command.args(["test", "--no-fail-fast", "--package", &package]);
        for name in names {
            command.args(["--test", &name]);
        }
        rust.for_wasm(&mut command);
        counts.add(tests(
            command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER", &runner),
        )?);
    }
    check(&mut build::size_command(place))?;
    counts.passed += 1;
    Ok(Ended::Counted(counts))
}

/// Both roads to the cross targets must lead somewhere: this is the one that isn't taken by default.
fn distro(place: &Place) -> Result<Ended> {
    let Some(rust) = Rust::distro().filter(|rust| rust.wasm().is_some() && rust.bpf().is_some()) else {
        let why =
            "no Debian toolchain for wasm32 and BPF: `cargo xtask setup --toolchain distro` installs it";
        return Ok(Ended::Skipped(why.into()));
    };
    let mut steps = Steps::new(place, 2);
    steps.run(
        "eBPF programs (distro)",
        &mut build::bpf_command(place, &rust, "build"),
    )?;
    // What is proved is that it compiles and links: without the optimiser that takes half the time.
    let mut console = build::wasm_command(place, &rust, "dev");
    console
        .args(["--config", "profile.dev.package.\"*\".opt-level=0"])
        .env("CARGO_PROFILE_DEV_DEBUG", "false");
    steps.run("console (distro)", &mut console)?;
    for result in [
        build::bpf_result(place, &rust),
        build::wasm_result(place, &rust, "debug"),
    ] {
        if !result.is_file() {
            bail!("the build by Debian's toolchain left no {}", result.display());
        }
    }
    Ok(Ended::Counted(Counts {
        passed: 2,
        ..Counts::default()
    }))
}

fn ebpf(place: &Place, options: &Options) -> Result<Ended> {
    if let Some(why) = ability::no_bpf() {
        return Ok(Ended::Skipped(why));
    }
    go_releases(place, options)?;
    serial(place, options, Kind::Kernel)
}

fn e2e(place: &Place, options: &Options) -> Result<Ended> {
    if let Some(why) = ability::no_bpf().or_else(ability::no_browser) {
        return Ok(Ended::Skipped(why));
    }
    go_releases(place, options)?;
    serial(place, options, Kind::E2e)
}

/// `--full` means every release, and says so when one is missing.
fn go_releases(place: &Place, options: &Options) -> Result<()> {
    let wanted = setup::go_versions(if options.full { Extent::Full } else { Extent::Tests });
    let missing: Vec<&str> = wanted
        .iter()
        .copied()
        .filter(|version| !place.go(version).is_file())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let full = if options.full { " --full" } else { "" };
    bail!(
        "Go {} is missing: `cargo xtask setup{full}` installs it",
        missing.join(", ")
    )
}

/// These tests measure a whole machine: one at a time.
fn serial(place: &Place, options: &Options, kind: Kind) -> Result<Ended> {
    let mut command = with_tests(place, options, kind)?;
    command.args(["--", "--test-threads=1"]);
    command.args(&options.filter);
    Ok(Ended::Counted(tests(&mut command)?))
}

/// `cargo test` over the whole workspace: naming single packages would change which features their
/// dependencies are built with, and so build half of them again.
fn test_command(place: &Place, options: &Options) -> Result<Command> {
    let mut command = Rust::own()?.cargo(place);
    command
        .args(["test", "--workspace", "--no-fail-fast"])
        .envs(environment(place, options.require_all));
    if options.full {
        command.env("HEAPTIDE_FULL", "1");
    }
    Ok(command)
}

/// The same with the integration tests of one kind named.
fn with_tests(place: &Place, options: &Options, kind: Kind) -> Result<Command> {
    let names = integration_tests(&place.root, kind)?;
    if names.is_empty() && kind != Kind::Native {
        bail!("there are no such tests");
    }
    let mut command = test_command(place, options)?;
    for name in names {
        command.args(["--test", &name]);
    }
    Ok(command)
}

/// The names of all integration tests of a kind, in order.
fn integration_tests(root: &Path, kind: Kind) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for member in members(root)? {
        let Ok(entries) = fs::read_dir(root.join(&member).join("tests")) else {
            continue;
        };
        for entry in entries {
            let file = entry?.file_name();
            let Some(name) = file.to_str().and_then(|name| name.strip_suffix(".rs")) else {
                continue;
            };
            if kind_of(&member, name) == kind {
                names.push(name.to_owned());
            }
        }
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

fn kind_of(member: &str, name: &str) -> Kind {
    match (name.starts_with("kernel"), member) {
        (true, _) => Kind::Kernel,
        (false, "e2e") => Kind::E2e,
        (false, _) => Kind::Native,
    }
}

/// The packages that have integration tests for the browser, each with those tests' names.
fn wasm_tests(root: &Path) -> Result<Vec<(String, Vec<String>)>> {
    let mut packages = Vec::new();
    for member in members(root)? {
        let Ok(entries) = fs::read_dir(root.join(&member).join("tests")) else {
            continue;
        };
        let mut names = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let for_browser = fs::read_to_string(&path).is_ok_and(|text| text.contains("wasm_bindgen_test"));
            if for_browser && let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
                names.push(name.to_owned());
            }
        }
        if !names.is_empty() {
            let file = root.join(&member).join("Cargo.toml");
            let manifest =
                fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
            let package = manifest.lines().find_map(|line| line.strip_prefix("name = "));
            let package = package.with_context(|| format!("{} names no package", file.display()))?;
            packages.push((package.trim_matches('"').to_owned(), names));
        }
    }
    Ok(packages)
}

/// The workspace's members, from the root manifest.
fn members(root: &Path) -> Result<Vec<String>> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("can't read Cargo.toml")?;
    let (_, list) = manifest
        .split_once("members = [")
        .context("Cargo.toml names no members")?;
    let (list, _) = list
        .split_once(']')
        .context("Cargo.toml: the list of members has no end")?;
    Ok(list.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tests_step_is_seen_from_its_name() {
        for (member, name, expect) in [
            ("collector", "kernel_hits", Kind::Kernel),
            ("e2e", "kernel_counts", Kind::Kernel),
            ("e2e", "browser", Kind::E2e),
            ("shared/protocol", "golden", Kind::Native),
        ] {
            assert_eq!(kind_of(member, name), expect, "{member} {name}");
        }
    }

    #[test]
    fn the_members_are_those_of_the_manifest() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let members = members(root).unwrap();
        assert!(
            members.iter().any(|member| member == "xtask/bundle"),
            "{members:?}"
        );
        assert!(
            members
                .iter()
                .all(|member| root.join(member).join("Cargo.toml").is_file()),
            "{members:?}"
        );
    }
}
