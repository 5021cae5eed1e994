//! Runs the `#[wasm_bindgen_test]` functions of one wasm module in a real Chromium.
//!
//! `cargo test --target wasm32-unknown-unknown` starts this as its runner. It makes the JavaScript side
//! with the library that the console is built with, serves it with a page to a headless Chromium, and
//! waits for that page to send its report. Against `wasm-bindgen-test-runner` from `wasm-bindgen-cli` it
//! saves a fresh machine a minute of compiling and a WebDriver; what it leaves out is Node and workers:
//! every test runs in the page. The names that it calls are those of the pinned `wasm-bindgen` version.

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use wasm_bindgen_cli_support::Bindgen;

/// A page that says nothing for this long has hung.
const PATIENCE: Duration = Duration::from_secs(180);
/// No report is longer: it is the tests' output.
const REPORT_LIMIT_BYTES: usize = 16 << 20;

const PAGE: &str = include_str!("wasm_test.html");

/// Runs the module's tests whose name holds the filter. Success is every test's success.
pub(crate) fn run(wasm: &Path, filter: Option<&str>) -> Result<ExitCode> {
    let failed = |error| anyhow!("wasm-bindgen: {error:#}");
    let mut bindgen = Bindgen::new();
    bindgen
        .input_path(wasm)
        .web(true)
        .map_err(failed)?
        .debug(true)
        .typescript(false);
    let mut output = bindgen.generate_output().map_err(failed)?;
    let exports: Vec<String> = output
        .wasm()
        .exports
        .iter()
        .map(|export| export.name.clone())
        .collect();
    let (tests, filtered) = select(exports, filter);
    if tests.is_empty() {
        println!("\ntest result: ok. 0 passed; 0 failed; 0 ignored; {filtered} filtered out\n");
        return Ok(ExitCode::SUCCESS);
    }

    let names: Vec<String> = tests.iter().map(|name| format!("{name:?}")).collect();
    let page = PAGE
        .replace("TESTS", &names.join(", "))
        .replace("FILTERED", &filtered.to_string());
    let mut files = BTreeMap::new();
    files.insert("/".to_owned(), ("text/html", page.into_bytes()));
    for (folder, bodies) in output.snippets() {
        for (number, body) in bodies.iter().enumerate() {
            let path = format!("/snippets/{folder}/inline{number}.js");
            files.insert(path, ("text/javascript", body.clone().into_bytes()));
        }
    }
    for (path, body) in output.local_modules() {
        files.insert(
            format!("/snippets/{path}"),
            ("text/javascript", body.clone().into_bytes()),
        );
    }
    files.insert(
        "/module.js".into(),
        ("text/javascript", output.js().as_bytes().to_vec()),
    );
    files.insert(
        "/module.wasm".into(),
        ("application/wasm", output.wasm_mut().emit_wasm()),
    );

    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    let address = listener.local_addr()?;
    let (report, reports) = mpsc::channel();
    thread::spawn(move || serve(&listener, &files, &report));
    let browser = Browser::open(&format!("http://{address}/"))?;
    let report = reports.recv_timeout(PATIENCE);
    drop(browser);
    let report = report.context("Chromium sent no report: run it by hand on the served page to see why")?;
    let (verdict, text) = report.split_once('\n').context("an empty report")?;
    println!("{text}");
    Ok(if verdict == "passed" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The exports that are tests and wanted, and the number of those not wanted.
fn select(exports: Vec<String>, filter: Option<&str>) -> (Vec<String>, usize) {
    let tests: Vec<String> = exports
        .into_iter()
        .filter(|name| name.starts_with("__wbgt_"))
        .collect();
    let all = tests.len();
    let wanted: Vec<String> = tests
        .into_iter()
        .filter(|name| filter.is_none_or(|part| name.contains(part)))
        .collect();
    let filtered = all - wanted.len();
    (wanted, filtered)
}

type Files = BTreeMap<String, (&'static str, Vec<u8>)>;

/// Serves the files and takes the one report, a connection at a time: the client is one page.
fn serve(listener: &TcpListener, files: &Files, report: &mpsc::Sender<String>) {
    for stream in listener.incoming().flatten() {
        match answer(&stream, files) {
            Ok(Some(text)) => {
                // The receiver is gone only when nobody waits any more.
                let _ = report.send(text);
            }
            Ok(None) => {}
            Err(error) => eprintln!("a request failed: {error:#}"),
        }
    }
}

/// Answers one request; a report is returned.
fn answer(stream: &TcpStream, files: &Files) -> Result<Option<String>> {
    // A browser opens connections ahead and says nothing on them.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    if reader.read_line(&mut first).unwrap_or(0) == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>()?;
        }
    }
    let mut words = first.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    if method == "POST" && path == "/report" {
        if length > REPORT_LIMIT_BYTES {
            bail!("a report of {length} bytes, over {REPORT_LIMIT_BYTES}");
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        respond(stream, "204 No Content", "text/plain", b"")?;
        return Ok(Some(String::from_utf8_lossy(&body).into_owned()));
    }
    match files.get(path) {
        Some((content_type, body)) => respond(stream, "200 OK", content_type, body)?,
        None => respond(stream, "404 Not Found", "text/plain", b"no such file")?,
    }
    Ok(None)
}

fn respond(mut stream: &TcpStream, status: &str, content_type: &str, body: &[u8]) -> Result<()> {
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    stream.write_all(body)?;
    Ok(())
}

/// A headless Chromium with a profile of its own; both go when it is dropped.
struct Browser {
    child: Child,
    profile: std::path::PathBuf,
}

impl Browser {
    fn open(address: &str) -> Result<Self> {
        let program = env::var_os("HEAPTIDE_CHROMIUM").unwrap_or_else(|| "chromium".into());
        let profile = env::temp_dir().join(format!("heaptide-wasm-test-{}", std::process::id()));
        let child = Command::new(&program)
            .args([
                "--headless",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            // As root, the usual case in CI, Chromium's own sandbox refuses to start; the page is ours.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start {}", program.to_string_lossy()))?;
        Ok(Self { child, profile })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing useful can be done when these fail: the process ends right after.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_prefix_and_filter() {
        let exports = [
            "memory",
            "__wbgt_crate::a::one_1",
            "__wbgt_crate::b::two_2",
            "__wbgb_bench",
        ]
        .map(String::from);
        let cases = [
            (None, vec!["__wbgt_crate::a::one_1", "__wbgt_crate::b::two_2"], 0),
            (Some("b::"), vec!["__wbgt_crate::b::two_2"], 1),
            (Some("three"), vec![], 2),
        ];
        for (filter, expect, filtered) in cases {
            let (got, left) = select(exports.to_vec(), filter);
            assert_eq!(got, expect, "{filter:?}");
            assert_eq!(left, filtered, "{filter:?}");
        }
    }
}
