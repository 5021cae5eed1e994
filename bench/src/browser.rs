//! Runs the decoder's module in a real Chromium: serves a page, a worker, the module and the corpus, and waits
//! for the worker's times.

use anyhow::{Context as _, Result, bail};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const PAGE: &str = include_str!("page.html");
const WORKER: &str = include_str!("worker.js");
const PATIENCE: Duration = Duration::from_secs(180);
const REPORT_LIMIT_BYTES: usize = 1 << 20;

/// Milliseconds for one run over the corpus, by work and round.
pub(crate) fn run(chromium: &Path, module: &[u8], corpus: &[u8], rounds: usize) -> Result<[Vec<f64>; 4]> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    let address = listener.local_addr()?;
    let worker = WORKER.replace("ROUNDS", &rounds.to_string());
    let files = [
        ("/", "text/html", PAGE.as_bytes().to_vec()),
        ("/worker.js", "text/javascript", worker.into_bytes()),
        ("/module.wasm", "application/wasm", module.to_vec()),
        ("/corpus", "application/octet-stream", corpus.to_vec()),
    ];
    let (send, reports) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A request that breaks is the browser's to repeat.
            if let Ok(Some(report)) = answer(&stream, &files) {
                let _ = send.send(report);
            }
        }
    });
    let browser = Browser::open(chromium, &format!("http://{address}/"))?;
    let report = reports
        .recv_timeout(PATIENCE)
        .context("Chromium sent no report")?;
    drop(browser);
    let times: Vec<Vec<f64>> =
        serde_json::from_str(&report).with_context(|| format!("the worker failed: {report}"))?;
    times
        .try_into()
        .ok()
        .context("expected a list of times for each work")
}

type Files = [(&'static str, &'static str, Vec<u8>); 4];

/// Answers one request; a report is returned.
fn answer(mut stream: &TcpStream, files: &Files) -> Result<Option<String>> {
    // A browser opens connections ahead and says nothing on them.
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
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
    let mut report = None;
    let (status, content_type, body) = if method == "POST" {
        if length > REPORT_LIMIT_BYTES {
            bail!("a report of {length} bytes");
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text)?;
        report = Some(String::from_utf8_lossy(&text).into_owned());
        ("204 No Content", "text/plain", [].as_slice())
    } else {
        files.iter().find(|(name, ..)| *name == path).map_or(
            ("404 Not Found", "text/plain", [].as_slice()),
            |(_, kind, body)| ("200 OK", kind, body.as_slice()),
        )
    };
    // The two isolation headers give performance.now() 5 µs instead of 100.
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Embedder-Policy: require-corp\r\n\
         Connection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    Ok(report)
}

/// A headless Chromium with a profile of its own; both go when it is dropped.
struct Browser {
    child: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    fn open(program: &Path, address: &str) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        let child = Command::new(program)
            .args([
                "--headless",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            // As root, the usual case in CI, Chromium's own sandbox refuses to start; the page is ours.
            .arg("--no-sandbox")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(address)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("can't start {}", program.display()))?;
        Ok(Self {
            child,
            _profile: profile,
        })
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Nothing useful can be done when these fail: the process ends soon after.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
