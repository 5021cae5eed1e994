//! Sentences for the person who runs the hub. The binary decides where they go.

use std::fmt;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Info,
    Warning,
    Error,
}

/// Where the hub's log lines go: a function, so that the library needs no logging framework.
#[derive(Clone)]
pub struct Log(Arc<Sink>);

type Sink = dyn Fn(Level, &str) + Send + Sync;

impl Log {
    pub fn new(sink: impl Fn(Level, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub fn silent() -> Self {
        Self::new(|_, _| ())
    }

    pub(crate) fn info(&self, line: impl AsRef<str>) {
        (self.0)(Level::Info, line.as_ref());
    }

    pub(crate) fn warning(&self, line: impl AsRef<str>) {
        (self.0)(Level::Warning, line.as_ref());
    }

    pub(crate) fn error(&self, line: impl AsRef<str>) {
        (self.0)(Level::Error, line.as_ref());
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}
