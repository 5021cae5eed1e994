//! The files in `deploy/` are what their readers take: the hub itself, systemd, Kubernetes, a container builder.

#![expect(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::machine;
use heaptide_e2e::process::{finish, finish_command};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const NO_BINARY: &str = "HEAPTIDE_BIN names no heaptide binary: `cargo xtask build --release` makes one";

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

/// What a hub says of a file of settings, with its data elsewhere than where a service has it.
fn checked(binary: &Path, settings: &Path, data: &Path) -> Value {
    let mut command = Command::new(binary);
    command
        .args(["hub", "--check-config", "--json", "--config"])
        .arg(settings);
    let finished = finish_command(command.env("HEAPTIDE_HUB_DATA", data));
    assert_eq!(
        (finished.code, finished.err.as_str()),
        (0, ""),
        "{}",
        finished.out
    );
    serde_json::from_str(&finished.out).unwrap()
}

fn setting<'a>(document: &'a Value, name: &str) -> (&'a str, &'a str) {
    let settings = document["settings"].as_array().unwrap();
    let row = settings.iter().find(|row| row["name"] == name).unwrap();
    (row["value"].as_str().unwrap(), row["from"].as_str().unwrap())
}

#[test]
fn a_hub_takes_the_settings() {
    let Some(binary) = machine::binary() else {
        return machine::skip("deploy", NO_BINARY);
    };
    let folder = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(deploy("kubernetes/hub.yaml")).unwrap();
    let in_manifest: String = manifest
        .lines()
        .skip_while(|line| line.trim() != "hub.toml: |")
        .skip(1)
        .take_while(|line| line.starts_with("    "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    let of_pod = folder.path().join("pod.toml");
    std::fs::write(&of_pod, in_manifest).unwrap();
    for (settings, keep_bytes) in [(deploy("hub.toml"), "200GiB"), (of_pod, "80GiB")] {
        let document = checked(&binary, &settings, &folder.path().join("data"));
        assert_eq!(document["ok"], true);
        assert_eq!(setting(&document, "listen"), ("0.0.0.0:7070", "file"));
        assert_eq!(setting(&document, "require-token"), ("true", "file"));
        assert_eq!(setting(&document, "keep-bytes"), (keep_bytes, "file"));
        assert_eq!(setting(&document, "data").1, "environment");
    }
    assert!(!folder.path().join("data").exists(), "a check makes nothing");
}

#[test]
fn a_hub_does_not_take_what_would_keep_it_from_starting() {
    let Some(binary) = machine::binary() else {
        return machine::skip("deploy", NO_BINARY);
    };
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("hub.toml");
    for (text, expected) in [
        (
            "listen = \"0.0.0.0:7070\"\ndata = \"data\"",
            "without access control",
        ),
        ("tls-cert = \"a.pem\"\ntls-key = \"a.key\"", "can't speak TLS"),
        ("data = \"hub.toml/data\"", "is no folder"),
        ("webhook-ca = \"nothing.pem\"", "nothing.pem"),
    ] {
        std::fs::write(&settings, text).unwrap();
        let arguments = ["hub", "--check-config", "--config", settings.to_str().unwrap()];
        let finished = finish(&binary, arguments);
        assert_eq!(finished.code, 1, "{text}: {}", finished.out);
        assert!(finished.err.contains(expected), "{text}: {}", finished.err);
    }
}

#[test]
fn systemd_takes_the_units() {
    let Some(binary) = machine::binary() else {
        return machine::skip("deploy", NO_BINARY);
    };
    let folder = tempfile::tempdir().unwrap();
    for name in ["heaptide-hub.service", "heaptide-collector.service"] {
        // It looks for the program that a unit starts.
        let unit = std::fs::read_to_string(deploy("systemd").join(name)).unwrap();
        let installed = unit.replace("/usr/bin/heaptide", binary.to_str().unwrap());
        assert_ne!(unit, installed);
        let path = folder.path().join(name);
        for (text, expected) in [
            (installed.clone(), 0),
            (installed.replace("ExecStart=", "ExecStrat="), 1),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut command = Command::new("systemd-analyze");
            command.args(["verify", "--man=no"]).arg(&path);
            if command
                .output()
                .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
            {
                return machine::skip("deploy", "no systemd-analyze: `cargo xtask setup` installs it");
            }
            let finished = finish_command(&mut command);
            assert_eq!(finished.code, expected, "{name}: {}", finished.err);
            assert_eq!(finished.err.is_empty(), expected == 0, "{name}: {}", finished.err);
        }
    }
}

/// Calls behind the names of a filter, `@group` among them; `None` without systemd.
fn calls(names: &str) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for name in names.split(' ') {
        if !name.starts_with('@') {
            found.insert(name.to_owned());
            continue;
        }
        let mut command = Command::new("systemd-analyze");
        command.args(["syscall-filter", name]);
        if command
            .output()
            .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        {
            return None;
        }
        let finished = finish_command(&mut command);
        assert_eq!(finished.code, 0, "{name}: {}", finished.err);
        for line in finished.out.lines().skip(1).map(str::trim) {
            if !line.is_empty() && !line.starts_with('#') {
                found.extend(calls(line)?);
            }
        }
    }
    Some(found)
}

#[test]
fn the_collectors_filter_has_what_it_calls_and_not_what_nobody_needs() {
    let unit = std::fs::read_to_string(deploy("systemd/heaptide-collector.service")).unwrap();
    let filters: Vec<&str> = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="))
        .collect();
    let [allowed, refused] = filters[..] else {
        panic!("{filters:?}")
    };
    let refused = refused.strip_prefix('~').unwrap();
    let (Some(mut allowed), Some(refused)) = (calls(allowed), calls(refused)) else {
        return machine::skip("deploy", "no systemd-analyze: `cargo xtask setup` installs it");
    };
    allowed.retain(|call| !refused.contains(call));
    for (is_allowed, names) in [
        (
            true,
            "bpf perf_event_open seccomp prctl capset process_vm_readv process_vm_writev pidfd_open ioctl execve \
             clone clone3 socketpair sendmsg recvmsg connect mmap fdatasync renameat kill waitid",
        ),
        (
            false,
            "ptrace mount umount2 unshare setns init_module kexec_load reboot swapon setuid setgroups keyctl \
             userfaultfd io_uring_setup open_by_handle_at pivot_root chroot",
        ),
    ] {
        for name in names.split(' ') {
            assert_eq!(allowed.contains(name), is_allowed, "{name}");
        }
    }
}

/// Where the validators are.
fn validators() -> Option<PathBuf> {
    let folder = std::env::var_os("HEAPTIDE_VALIDATORS").map(PathBuf::from);
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        machine::skip(
            "deploy",
            "HEAPTIDE_VALIDATORS names no folder: `cargo xtask setup` installs kubernetes-validate and hadolint",
        );
    }
    folder
}

#[test]
fn kubernetes_takes_the_manifests() {
    let Some(tools) = validators() else { return };
    let folder = tempfile::tempdir().unwrap();
    let validate = |path: &Path| {
        let mut command = Command::new("python3");
        command
            .args(["-m", "kubernetes_validate", "--strict"])
            .arg(path)
            .env("PYTHONPATH", &tools);
        finish_command(&mut command)
    };
    for (name, kinds) in [
        (
            "hub.yaml",
            &["configmap", "persistentvolumeclaim", "deployment", "service"][..],
        ),
        ("first-token.yaml", &["job"]),
        ("collector.yaml", &["daemonset"]),
    ] {
        let path = deploy("kubernetes").join(name);
        let finished = validate(&path);
        assert_eq!(finished.code, 0, "{name}: {}{}", finished.out, finished.err);
        for kind in kinds {
            let said = format!("{}{}", finished.out, finished.err);
            assert!(
                said.contains(&format!("passed for resource {kind}/")),
                "{kind}: {said}"
            );
        }
        let wrong = std::fs::read_to_string(&path)
            .unwrap()
            .replace("metadata:", "metadaat:");
        let copy = folder.path().join(name);
        std::fs::write(&copy, wrong).unwrap();
        assert_ne!(validate(&copy).code, 0, "{name} with a wrong field passes");
    }
}

#[test]
fn a_container_builder_takes_the_containerfile() {
    let Some(tools) = validators() else { return };
    let hadolint = |path: OsString| finish(tools.join("bin/hadolint"), [path]);
    let finished = hadolint(deploy("Containerfile").into());
    assert_eq!(finished.code, 0, "{}{}", finished.out, finished.err);
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("Containerfile");
    std::fs::write(&copy, "FORM debian:12-slim\n").unwrap();
    assert_ne!(hadolint(copy.into()).code, 0);
}
