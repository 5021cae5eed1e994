//! Sentences for the person who runs the hub, and what they are about. The binary decides where they go.

use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// One thing that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    pub level: Level,
    pub message: &'a str,
    /// What it is about, as `("session", its id)` or `("peer", an address)`.
    pub about: Option<(&'static str, &'a str)>,
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.about {
            Some((what, which)) => write!(f, "{what} {which}: {}", self.message),
            None => f.write_str(self.message),
        }
    }
}

/// Where the hub's log goes: a function, so that the library needs no logging framework.
#[derive(Clone)]
pub struct Log(Arc<Sink>);

type Sink = dyn Fn(&Record<'_>) + Send + Sync;

/// A log whose records are about one session or peer.
#[derive(Debug)]
pub(crate) struct About<'a> {
    log: &'a Log,
    what: &'static str,
    which: String,
}

impl Log {
    pub fn new(sink: impl Fn(&Record<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub fn silent() -> Self {
        Self::new(|_| ())
    }

    pub(crate) fn about(&self, what: &'static str, which: impl fmt::Display) -> About<'_> {
        About {
            log: self,
            what,
            which: which.to_string(),
        }
    }

    pub fn info(&self, message: impl AsRef<str>) {
        self.tell(Level::Info, message.as_ref());
    }

    pub fn warning(&self, message: impl AsRef<str>) {
        self.tell(Level::Warning, message.as_ref());
    }

    pub fn error(&self, message: impl AsRef<str>) {
        self.tell(Level::Error, message.as_ref());
    }

    fn tell(&self, level: Level, message: &str) {
        (self.0)(&Record {
            level,
            message,
            about: None,
        });
    }
}

impl About<'_> {
    pub(crate) fn warning(&self, message: impl AsRef<str>) {
        self.tell(Level::Warning, message.as_ref());
    }

    pub(crate) fn error(&self, message: impl AsRef<str>) {
        self.tell(Level::Error, message.as_ref());
    }

    fn tell(&self, level: Level, message: &str) {
        (self.log.0)(&Record {
            level,
            message,
            about: Some((self.what, &self.which)),
        });
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}
