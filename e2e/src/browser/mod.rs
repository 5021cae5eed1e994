//! A real Chromium, driven through chromedriver.
//!
//! - [`Browser`] starts both, and ends both whatever becomes of the test.
//! - [`page`] knows the console's elements by their `data-testid`.
//! - [`picture`] takes screenshots, which are kept as test output.
//!
//! A WebDriver client of our own, because what the tests need of it is a dozen commands in a synchronous
//! harness; the well-known clients bring an asynchronous HTTP stack.

mod page;
mod picture;
mod wire;

pub use page::by_id;
pub use picture::{SIZES, Shot};

use crate::machine;
use crate::process::Process;
use crate::wait::until;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// How WebDriver names an element's id (section 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window, an empty profile, and no network but what the tests ask for.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    /// chromedriver gives Chromium a process group of its own.
    pid: Option<i32>,
    _chromedriver: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` after a loud skip.
    ///
    /// # Panics
    /// When there is one that can't be started.
    #[must_use]
    pub fn start(test: &str) -> Option<Self> {
        let chromedriver = found(test, "HEAPTIDE_CHROMEDRIVER", "/usr/bin/chromedriver")?;
        let chromium = found(test, "HEAPTIDE_CHROMIUM", "/usr/bin/chromium")?;
        let process = Process::start(Command::new(chromedriver).arg("--port=0"));
        let driver = until("chromedriver's port", || {
            let port = process.out.find(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            });
            port.map(|port: u16| SocketAddr::from(([127, 0, 0, 1], port)))
                .ok_or_else(|| process.err.text())
        });
        let profile = tempfile::tempdir().expect("a folder for the profile");
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // Servers of tests sign for themselves.
            "acceptInsecureCerts": true,
            "goog:chromeOptions": { "binary": chromium, "args": flags },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let answer = wire::request(driver, "POST", "/session", &wanted)
            .unwrap_or_else(|error| panic!("no browser: {error}\n{}", process.err.text()));
        let session = answer["sessionId"].as_str().expect("a session").to_owned();
        let pid = answer["capabilities"]["goog:processID"].as_i64();
        let browser = Self {
            driver,
            session,
            pid: pid.and_then(|pid| i32::try_from(pid).ok()),
            _chromedriver: process,
            _profile: profile,
        };
        browser.size(SIZES[0]);
        Some(browser)
    }

    pub fn open(&self, url: &str) {
        self.must("POST", "url", &json!({ "url": url }));
    }

    #[must_use]
    pub fn url(&self) -> String {
        let url = self.must("GET", "url", &Value::Null);
        url.as_str().unwrap_or_default().to_owned()
    }

    /// Opens a window of its own and turns to it.
    pub fn open_window(&self) {
        let window = self.must("POST", "window/new", &json!({ "type": "window" }));
        self.must("POST", "window", &json!({ "handle": window["handle"] }));
        self.size(SIZES[0]);
    }

    /// Runs the body of a function in the page and returns what it returns.
    pub fn script(&self, body: &str, arguments: &[Value]) -> Result<Value, String> {
        self.try_command(
            "POST",
            "execute/sync",
            &json!({ "script": body, "args": arguments }),
        )
    }

    /// As [`Self::script`], for an `async` body.
    pub fn script_async(&self, body: &str, arguments: &[Value]) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; \
             (async (...args) => {{ {body} }})(...arguments).then(done, (error) => done('error: ' + error));"
        );
        self.try_command(
            "POST",
            "execute/async",
            &json!({ "script": script, "args": arguments }),
        )
    }

    /// Clicks where a person would, as soon as nothing lies over it.
    ///
    /// # Panics
    /// When that takes a minute.
    pub fn click(&self, css: &str) {
        until(&format!("a click on {css}"), || {
            let element = self.element(css)?;
            self.try_command("POST", &format!("element/{element}/click"), &json!({}))
        });
    }

    /// Types into an element: text, or keys of [`key`].
    ///
    /// # Panics
    /// When it can't be typed into for a minute.
    pub fn type_into(&self, css: &str, text: &str) {
        until(&format!("typing into {css}"), || {
            let element = self.element(css)?;
            self.try_command(
                "POST",
                &format!("element/{element}/value"),
                &json!({ "text": text }),
            )
        });
    }

    /// Drags with the mouse from one share of an element's width to another, at half its height.
    pub fn drag(&self, css: &str, from: f64, to: f64) {
        let element = until(css, || self.element(css));
        let rect = self.must("GET", &format!("element/{element}/rect"), &Value::Null);
        let width = rect["width"].as_f64().unwrap_or_default();
        // The origin is the element's centre (section 15.6).
        let at = |share: f64| {
            json!({
                "type": "pointerMove", "duration": 50, "origin": { ELEMENT: element },
                "x": ((share - 0.5) * width) as i64, "y": 0,
            })
        };
        let actions = json!([
            at(from),
            { "type": "pointerDown", "button": 0 },
            at((from + to) / 2.0),
            at(to),
            { "type": "pointerUp", "button": 0 },
        ]);
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.must("POST", "actions", &json!({ "actions": [mouse] }));
    }

    /// What the console of the developer tools has had since the last call: warnings and errors.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let log = self.must("POST", "se/log", &json!({ "type": "browser" }));
        let lines = log.as_array().cloned().unwrap_or_default();
        let is_bad = |line: &&Value| matches!(line["level"].as_str(), Some("SEVERE" | "WARNING"));
        lines
            .iter()
            .filter(is_bad)
            .map(|line| line["message"].to_string())
            .collect()
    }

    /// A command of the Chrome DevTools protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.must("POST", "goog/cdp/execute", &body)
    }

    fn element(&self, css: &str) -> Result<String, String> {
        let query = json!({ "using": "css selector", "value": css });
        let found = self.try_command("POST", "element", &query)?;
        Ok(found[ELEMENT].as_str().unwrap_or_default().to_owned())
    }

    fn try_command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        wire::request(
            self.driver,
            method,
            &format!("/session/{}/{path}", self.session),
            body,
        )
    }

    fn must(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_command(method, path, body)
            .unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell_what_is_there();
        }
        let path = format!("/session/{}", self.session);
        if wire::request(self.driver, "DELETE", &path, &Value::Null).is_ok() {
            return;
        }
        // chromedriver is dropped next; Chromium would outlive it.
        if let Some(pid) = self.pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Keys that are no characters (section 15.4.2).
pub mod key {
    pub const LEFT: &str = "\u{e012}";
    pub const RIGHT: &str = "\u{e014}";
}

fn found(test: &str, variable: &str, default: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map_or_else(|| PathBuf::from(default), PathBuf::from);
    if path.is_file() {
        return Some(path);
    }
    let why = format!(
        "no {}, and {variable} names none: `cargo xtask setup` installs it",
        path.display()
    );
    machine::skip(test, &why);
    None
}
