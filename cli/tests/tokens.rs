//! `heaptide hub token`, on a folder and on a running hub, by the binary itself.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

fn heaptide(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heaptide"));
    command.args(arguments).env_remove("HEAPTIDE_TOKEN");
    command
}

fn run(arguments: &[&str]) -> Output {
    heaptide(arguments).output().unwrap()
}

/// Standard output of what has to succeed, less the end of the line.
fn told(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// Standard error of what has to fail.
fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

struct Hub {
    child: Child,
    url: String,
}

impl Hub {
    fn start(data: &str, listen: &str) -> Self {
        let mut child = heaptide(&["hub", "--listen", listen, "--data", data])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        Self {
            child,
            url: url.trim_end().trim_end_matches('/').to_owned(),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn create(name: &str, role: &str, place: &[&str]) -> String {
    told(&[&["hub", "token", "create", "--name", name, "--role", role], place].concat())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn tokens_are_made_listed_and_revoked_on_a_folder_and_on_a_running_hub() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("hub");
    let data = text(&data);
    let none = refused(&["hub", "--listen", "0.0.0.0:0", "--data", data]);
    assert!(none.contains("heaptide hub token create"), "{none}");

    let admin = create("root", "admin", &["--data", data]);
    assert!(
        admin.starts_with("ht_") && admin.lines().count() == 1,
        "{admin:?}"
    );
    // With a token there is access control, so others may reach it.
    let hub = Hub::start(data, "0.0.0.0:0");
    let url = hub.url.replace("0.0.0.0", "127.0.0.1");
    let by_admin = ["--hub", url.as_str(), "--token", admin.as_str()];
    let in_use = refused(&["hub", "token", "list", "--data", data]);
    assert!(in_use.contains("--hub URL"), "{in_use}");

    let viewer = create("ana", "viewer", &[&by_admin[..], &["--expires", "30d"]].concat());
    let list = told(&[&["hub", "token", "list"][..], &by_admin].concat());
    let line = list
        .lines()
        .find(|line| line.contains("ana"))
        .unwrap_or_else(|| panic!("{list}"));
    for part in ["viewer", "never", "expires in 29 d"] {
        assert!(line.contains(part), "{part}: {list}");
    }
    let id = viewer.split('_').nth(1).unwrap();
    assert!(line.starts_with(id), "{list}");
    for (token, why) in [
        (viewer.as_str(), "needs an admin"),
        ("ht_wrong", "opens nothing here"),
        ("", "opens nothing here"),
    ] {
        let said = refused(&["hub", "token", "list", "--hub", &url, "--token", token]);
        assert!(said.contains(why), "{token}: {said}");
    }
    told(&[&["hub", "token", "revoke", id, "--why", "left us"][..], &by_admin].concat());
    let list = told(&[&["hub", "token", "list", "--json"][..], &by_admin].concat());
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let ana = list.as_array().unwrap().iter().find(|info| info["name"] == "ana");
    assert!(ana.unwrap()["revoked_unix_ns"].is_u64(), "{list}");
    drop(hub);
    let list = told(&["hub", "token", "list", "--data", data]);
    assert!(list.contains("revoked") && list.contains("root"), "{list}");
    // Nothing secret has gone to the disk.
    let secret = admin.rsplit('_').next().unwrap();
    let kept = std::fs::read(Path::new(data).join("catalog.redb")).unwrap();
    assert!(
        !kept
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    );
}

#[test]
fn what_makes_no_sense_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = text(folder.path());
    for (arguments, sentence) in [
        (
            &["create", "--name", "a", "--role", "boss", "--data", data][..],
            "viewer, tuner, admin or collector",
        ),
        (
            &["create", "--name", "a", "--role", "admin", "--expires", "soon"],
            "30d, 12h",
        ),
        (
            &["create", "--name", " ", "--role", "admin", "--data", data],
            "needs a name",
        ),
        (
            &["create", "--name", "local", "--role", "admin", "--data", data],
            "audit log",
        ),
        (&["revoke", "0123", "--data", data], "there is no token 0123"),
        (
            &["list", "--data", data, "--hub", "http://127.0.0.1:9"],
            "cannot be used with",
        ),
        (&["list", "--hub", "http://127.0.0.1:9"], "can't reach"),
        (
            &["list", "--hub", "http://127.0.0.1:9", "--tls-client-cert", "a"],
            "--tls-client-key",
        ),
    ] {
        let said = refused(&[&["hub", "token"][..], arguments].concat());
        assert!(
            said.contains(sentence),
            "{arguments:?}: {said} lacks {sentence:?}"
        );
    }
    let tls = refused(&["hub", "--tls-cert", "a.pem", "--data", data]);
    assert!(tls.contains("--tls-key"), "{tls}");
}
