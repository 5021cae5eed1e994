//! The console's page: its elements by `data-testid`, read without waiting, or waited for.

use super::Browser;
use crate::wait::until;
use heaptide_protocol::SessionId;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The selector of an element by its `data-testid`.
#[must_use]
pub fn by_id(id: &str) -> String {
    format!("[data-testid={id}]")
}

impl Browser {
    /// Opens a session's page, with its query, and waits until what is stored has been read.
    pub fn open_session(&self, hub: SocketAddr, session: SessionId, page_and_query: &str) {
        self.open(&format!("http://{hub}/s/{session}{page_and_query}"));
        self.until_caught_up();
    }

    pub fn until_caught_up(&self) {
        self.until_attribute(
            &by_id("about"),
            "data-caught-up",
            "the past to be read",
            |value| value == "true",
        );
    }

    /// An attribute of the first such element. `Err` says that there is none.
    pub fn attribute(&self, css: &str, name: &str) -> Result<String, String> {
        let body = "return document.querySelector(arguments[0])?.getAttribute(arguments[1]) ?? null";
        let value = self.script(body, &[json!(css), json!(name)])?;
        match value {
            Value::String(value) => Ok(value),
            _ => Err(format!("no {name} at {css}")),
        }
    }

    /// The text of all such elements, as a reader of the page's source sees it: also what is only for
    /// screen readers.
    pub fn texts(&self, css: &str) -> Result<Vec<String>, String> {
        let body = "return [...document.querySelectorAll(arguments[0])].map((found) => found.textContent)";
        let value = self.script(body, &[json!(css)])?;
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    pub fn text(&self, css: &str) -> Result<String, String> {
        let texts = self.texts(css)?;
        texts
            .into_iter()
            .next()
            .ok_or_else(|| format!("nothing at {css}"))
    }

    /// Waits until an attribute is as wanted, and returns it.
    pub fn until_attribute(
        &self,
        css: &str,
        name: &str,
        what: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        until(what, || {
            let value = self.attribute(css, name)?;
            if wanted(&value) { Ok(value) } else { Err(value) }
        })
    }

    /// Waits until such an element says this.
    pub fn until_text(&self, css: &str, words: &str) -> String {
        until(&format!("{words:?} at {css}"), || {
            let texts = self.texts(css)?;
            let found = texts.iter().find(|text| text.contains(words));
            found.cloned().ok_or_else(|| texts.join(" | "))
        })
    }

    /// The page's figure in an attribute.
    pub fn number(&self, css: &str, name: &str) -> Result<f64, String> {
        let text = self.attribute(css, name)?;
        text.parse().map_err(|error| format!("{text:?}: {error}"))
    }

    /// Frames that the page has read.
    pub fn last_seq(&self) -> Result<u64, String> {
        Ok(self.number(&by_id("about"), "data-last-seq")? as u64)
    }

    /// The digest of the session in the page's Worker, once that has read this far.
    pub fn parity(&self, last_seq: u64) -> u64 {
        until("the last frame to be read", || match self.last_seq()? {
            seq if seq == last_seq => Ok(()),
            seq => Err(format!("{seq} of {last_seq}")),
        });
        let digits = self
            .script_async("return await window.__heaptide.parity();", &[])
            .unwrap();
        let digits = digits.as_str().unwrap_or_default();
        u64::from_str_radix(digits, 16)
            .unwrap_or_else(|error| panic!("the Worker's digest {digits:?}: {error}"))
    }

    /// For the message of a failed test.
    pub(super) fn tell_what_is_there(&self) {
        let text = self.script(
            "return location.href + '\\n' + document.body?.innerText + '\\n' + document.getElementById('fatal-report')?.textContent",
            &[],
        );
        eprintln!(
            "--- the page:\n{}",
            text.unwrap_or_default().as_str().unwrap_or_default()
        );
        for line in self.complaints() {
            eprintln!("--- the browser's log: {line}");
        }
    }
}
