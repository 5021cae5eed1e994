//! What is read now and then instead of being probed: the process's memory and `/proc`, by several readers
//! that know nothing of each other. None of them stops or writes to the program.

pub(crate) mod goroutines;
pub(crate) mod memory;

use crate::CollectorError;
use crate::linux::{GoTarget, Process, monotonic_ns};
use crate::pipeline::Pipeline;
use heaptide_policy::Policy;
use heaptide_protocol::section::Section;
use heaptide_protocol::session::Capability;
use std::fmt;

/// A reader may take at most one part in this many of the time; what takes longer comes more rarely.
const SHARE: u64 = 50;

/// What a reader may look at.
#[derive(Debug)]
pub(crate) struct ReadContext<'a> {
    pub(crate) now_ns: u64,
    pub(crate) policy: &'a Policy,
    pub(crate) process: &'a Process,
    pub(crate) go: &'a mut GoTarget,
    /// Gives stacks their ids.
    pub(crate) pipeline: &'a mut Pipeline,
}

/// One thing that is read.
pub(crate) trait Reader: fmt::Debug {
    /// What it is, for messages: `goroutine census`.
    fn name(&self) -> &'static str;

    /// How often the policy wants it; `None` is never.
    fn period_ns(&self, policy: &Policy) -> Option<u64>;

    /// What it can see in this process, and if not, why.
    fn capability(&self) -> Capability;

    fn read(&mut self, context: &mut ReadContext<'_>) -> Result<Vec<Section>, CollectorError>;
}

#[derive(Debug, Default)]
pub(crate) struct Readers {
    readers: Vec<Paced>,
}

#[derive(Debug)]
struct Paced {
    reader: Box<dyn Reader>,
    last_ns: Option<u64>,
    /// Not before then, because of what the last reading cost.
    rest_until_ns: u64,
    /// Told already, and not again until it changes.
    failure: Option<String>,
}

impl Readers {
    pub(crate) fn all(go: &GoTarget, rate_bytes: Option<u64>) -> Self {
        let mut readers = memory::all(go, rate_bytes);
        readers.push(Box::new(goroutines::GoroutineReader::new(go)));
        Self::new(readers)
    }

    fn new(readers: Vec<Box<dyn Reader>>) -> Self {
        let readers = readers.into_iter().map(|reader| Paced {
            reader,
            last_ns: None,
            rest_until_ns: 0,
            failure: None,
        });
        Self {
            readers: readers.collect(),
        }
    }

    pub(crate) fn capabilities(&self) -> impl Iterator<Item = Capability> {
        self.readers.iter().map(|paced| paced.reader.capability())
    }

    /// Runs at most one reader that is due, so that a tick is never late by more than one reading. A failure is
    /// handed to `warn` once.
    pub(crate) fn run(
        &mut self,
        context: &mut ReadContext<'_>,
        warn: &mut dyn FnMut(String),
    ) -> Vec<Section> {
        let now_ns = context.now_ns;
        let due = self.readers.iter_mut().find(|paced| paced.is_due(context));
        let Some(paced) = due else {
            return Vec::new();
        };
        paced.last_ns = Some(now_ns);
        let began_ns = monotonic_ns();
        let result = paced.reader.read(context);
        let took_ns = monotonic_ns().saturating_sub(began_ns);
        paced.rest_until_ns = now_ns + took_ns * SHARE;
        match result {
            Ok(sections) => {
                paced.failure = None;
                sections
            }
            // Its end is told elsewhere.
            Err(_) if context.process.stat().is_ok_and(|stat| stat.state == 'Z') => Vec::new(),
            Err(error) => {
                let told = format!("{}: {error}", paced.reader.name());
                if paced.failure.as_ref() != Some(&told) {
                    warn(told.clone());
                    paced.failure = Some(told);
                }
                Vec::new()
            }
        }
    }
}

impl Paced {
    fn is_due(&self, context: &ReadContext<'_>) -> bool {
        let Some(period_ns) = self.reader.period_ns(context.policy) else {
            return false;
        };
        context.now_ns >= self.rest_until_ns
            && self
                .last_ns
                .is_none_or(|last_ns| context.now_ns >= last_ns + period_ns)
    }
}
