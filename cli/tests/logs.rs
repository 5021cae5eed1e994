//! The hub's log, as the binary writes it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const SECRET: &str = "htd_0123456789abcdef_guessed-and-wrong";

/// What a hub logs while somebody comes with a wrong token, until it is told to end.
fn logged(options: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_heaptide"))
        .args(["hub", "--listen", "127.0.0.1:0", "--require-token", "--data"])
        .arg(folder.path())
        .args(options)
        .env_remove("HEAPTIDE_HUB_CONFIG")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut url = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut url).unwrap();
    let address = url.trim().trim_start_matches("http://").trim_end_matches('/');
    let mut socket = TcpStream::connect(address).unwrap();
    write!(
        socket,
        "GET /api/v1/sessions HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {SECRET}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let pid = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log}");
    assert!(!log.contains(SECRET) && !log.contains("guessed"), "{log}");
    log
}

#[test]
fn each_line_of_json_says_when_how_bad_and_what_about() {
    let log = logged(&["--log-format", "json"]);
    let records: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for record in &records {
        let time = record["time"].as_str().unwrap();
        assert!(time.len() == 24 && time.ends_with('Z'), "{record}");
        assert!(
            record["level"].is_string() && record["message"].is_string(),
            "{record}"
        );
    }
    let refusal = records.iter().find(|record| record["peer"].is_string());
    let refusal = refusal.unwrap_or_else(|| panic!("nobody was refused in {log}"));
    assert!(
        refusal["peer"].as_str().unwrap().starts_with("127.0.0.1"),
        "{refusal}"
    );
    assert_eq!(refusal["level"], "warning");
}

#[test]
fn text_is_for_people_and_the_level_leaves_out_what_is_below() {
    let log = logged(&[]);
    assert!(log.contains("warning: peer 127.0.0.1"), "{log}");
    assert_eq!(logged(&["--log-level", "error"]), "");
}
