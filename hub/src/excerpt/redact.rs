//! Takes away what names people and places: the host, the program's path, its command line, where sources lie.
//!
//! Each name becomes a placeholder, the same one wherever it stands, so that what belongs together still does.
//! The placeholder is keyed with random bits, so that nobody can find a name by trying names. What can't be
//! judged, because this version doesn't know it, is left out. Function and type names stay: they are what a
//! profile is about; [`Redactor::new`] takes patterns for those that must not be seen either.

use heaptide_policy::Labels;
use heaptide_protocol::ProtocolError;
use heaptide_protocol::control::{PolicyOutcome, PolicyResult, PolicyState, SessionSummary};
use heaptide_protocol::section::{RawSection, Section, SectionWriter};
use heaptide_protocol::session::{Capability, CapabilityState, PlatformSignature};
use sha2::{Digest as _, Sha256};

/// A shorter one is a usual word, and replacing it would only spoil sentences.
const SHORTEST_WORD_BYTES: usize = 6;
const SHORTEST_HOST_BYTES: usize = 3;
/// Of a path, what is told.
const PARTS: usize = 2;
/// Paths that are the same on every host.
const EVERYWHERE: [&str; 3] = ["/proc/", "/sys/", "/dev/"];
const SOURCES: [&str; 11] = [
    ".go", ".s", ".S", ".c", ".cc", ".cpp", ".cxx", ".h", ".hpp", ".rs", ".asm",
];

#[derive(Debug, Clone)]
pub(crate) struct Redactor {
    salt: [u8; 16],
    /// In sentences and names of mappings: what is replaced, and by what; the longest first.
    words: Vec<(String, String)>,
    /// The same in names of functions and sources, of which short words are a part by chance.
    in_symbols: Vec<(String, String)>,
    /// Lower-case, with `*`.
    patterns: Vec<String>,
}

impl Redactor {
    /// For one session. Words that a pattern matches go as well, whatever their case; `*` is any run.
    pub(crate) fn new(salt: [u8; 16], signature: &PlatformSignature, patterns: &[String]) -> Self {
        let mut redactor = Self {
            salt,
            words: Vec::new(),
            in_symbols: Vec::new(),
            patterns: patterns.iter().map(|pattern| pattern.to_lowercase()).collect(),
        };
        let host = signature.host_name.as_str();
        let short_host = host.split('.').next().unwrap_or_default();
        let executable = signature.executable.as_str();
        for (kind, text, shortest) in [
            ("host", host, SHORTEST_HOST_BYTES),
            ("host", short_host, SHORTEST_HOST_BYTES),
            ("boot", signature.boot_id.as_str(), SHORTEST_WORD_BYTES),
            ("program", executable, SHORTEST_HOST_BYTES),
            ("program", last_part(executable), SHORTEST_WORD_BYTES),
        ] {
            redactor.add(kind, text, shortest);
        }
        redactor.add("command", &signature.command_line.join(" "), SHORTEST_WORD_BYTES);
        for argument in &signature.command_line {
            redactor.add("argument", argument, SHORTEST_WORD_BYTES);
            if let Some((_, value)) = argument.split_once('=') {
                redactor.add("argument", value, SHORTEST_WORD_BYTES);
            }
        }
        for (kind, text) in [("host", host), ("program", executable)] {
            if text.len() >= SHORTEST_WORD_BYTES {
                let placeholder = redactor.placeholder(kind, text);
                redactor.in_symbols.push((text.to_owned(), placeholder));
            }
        }
        redactor
            .words
            .sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        redactor
    }

    fn add(&mut self, kind: &str, text: &str, shortest: usize) {
        let is_new = self.words.iter().all(|(known, _)| known != text);
        if text.len() >= shortest && is_new {
            let placeholder = self.placeholder(kind, text);
            self.words.push((text.to_owned(), placeholder));
        }
    }

    /// The same for the same text, and only under this salt.
    fn placeholder(&self, kind: &str, text: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(text.as_bytes());
        let hash = hash.finalize();
        let digits: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("{kind}-{digits}")
    }

    /// Nothing for nothing: an empty text means "not known", which is no name.
    fn whole(&self, kind: &str, text: &mut String) {
        if !text.is_empty() {
            *text = self.placeholder(kind, text);
        }
    }

    pub(crate) fn signature(&self, signature: &mut PlatformSignature) {
        self.whole("host", &mut signature.host_name);
        self.whole("boot", &mut signature.boot_id);
        self.whole("program", &mut signature.executable);
        if !signature.command_line.is_empty() {
            let whole = signature.command_line.join(" ");
            signature.command_line = vec![self.placeholder("command", &whole)];
        }
        for text in [
            &mut signature.os_version,
            &mut signature.kernel,
            &mut signature.libc,
        ] {
            *text = self.text(text);
        }
    }

    /// Names of the host and the program go whole, and so does a label whose key a pattern matches; the rest as text.
    pub(crate) fn labels(&self, labels: &mut Labels) {
        let mut redacted = Labels::default();
        for (key, value) in labels.iter() {
            let kind = match key {
                "host" => Some("host"),
                "service" => Some("program"),
                _ if self.patterns.iter().any(|pattern| matches(pattern, key)) => Some("hidden"),
                _ => None,
            };
            let told = kind.map_or_else(|| self.text(value), |kind| self.placeholder(kind, value));
            redacted.suggest(key, &told);
        }
        *labels = redacted;
    }

    pub(crate) fn capabilities(&self, capabilities: &mut [Capability]) {
        for capability in capabilities {
            capability.source = self.text(&capability.source);
            match &mut capability.state {
                CapabilityState::Active => {}
                CapabilityState::Limited { why } | CapabilityState::Off { why } => *why = self.text(why),
                CapabilityState::Unavailable { why, remedy } => {
                    *why = self.text(why);
                    *remedy = self.text(remedy);
                }
            }
        }
    }

    /// Of the policy only what is in force: what people proposed and what failed is the team's own.
    pub(crate) fn summary(&self, summary: &mut SessionSummary) {
        self.signature(&mut summary.signature);
        self.labels(&mut summary.labels);
        self.capabilities(&mut summary.capabilities);
        summary.policy = PolicyState {
            applied: summary.policy.applied.take(),
            ..PolicyState::default()
        };
    }

    /// The name of somebody who said something.
    pub(crate) fn person(&self, name: &str) -> String {
        self.placeholder("person", name)
    }

    /// A sentence, or the name of a mapping.
    pub(crate) fn text(&self, text: &str) -> String {
        let mut out = replaced(text, &self.words);
        if out.contains('/') {
            let is_edge = |at: char| at.is_whitespace() || "\"'`,;()[]".contains(at);
            out = out
                .split_inclusive(is_edge)
                .map(|piece| {
                    let path = piece.trim_end_matches(is_edge);
                    let edge = &piece[path.len()..];
                    let known = EVERYWHERE.iter().any(|start| path.starts_with(start));
                    if path.starts_with('/') && !known {
                        last_parts(path) + edge
                    } else {
                        piece.to_owned()
                    }
                })
                .collect();
        }
        self.without_patterns(out)
    }

    /// A string of a dictionary: the name of a function, a source file or a tag.
    pub(crate) fn symbol(&self, text: &str) -> String {
        let out = replaced(text, &self.in_symbols);
        let out = if is_path(&out) { last_parts(&out) } else { out };
        self.without_patterns(out)
    }

    fn without_patterns(&self, text: String) -> String {
        if self.patterns.is_empty() {
            return text;
        }
        let is_word = |at: char| at.is_alphanumeric() || "._-@".contains(at);
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some(start) = rest.find(is_word) {
            let (before, from_word) = rest.split_at(start);
            let end = from_word.find(|at| !is_word(at)).unwrap_or(from_word.len());
            let (word, behind) = from_word.split_at(end);
            out.push_str(before);
            let lower = word.to_lowercase();
            if self.patterns.iter().any(|pattern| matches(pattern, &lower)) {
                out.push_str(&self.placeholder("hidden", word));
            } else {
                out.push_str(word);
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    /// Writes a section without names. True if it differs from what came, false also if it was left out.
    pub(crate) fn section(
        &self,
        raw: RawSection<'_>,
        out: &mut SectionWriter,
    ) -> Result<bool, ProtocolError> {
        let redacted = match raw.kind {
            // Columns of numbers and ids; Go's own words for what a goroutine waits for.
            3..=6 | 8 | 9 | 11 => {
                out.push_raw(raw.kind, raw.body);
                return Ok(false);
            }
            _ => match raw.decode()? {
                Section::Start(mut start) => {
                    self.signature(&mut start.signature);
                    self.labels(&mut start.labels);
                    self.capabilities(&mut start.capabilities);
                    Section::Start(start)
                }
                Section::Dictionary(mut dictionary) => {
                    for string in &mut dictionary.strings {
                        string.text = self.symbol(&string.text);
                    }
                    Section::Dictionary(dictionary)
                }
                Section::PolicyOutcome(mut outcome) => {
                    self.outcome(&mut outcome);
                    Section::PolicyOutcome(outcome)
                }
                Section::Exact(mut window) => {
                    for row in &mut window.rows {
                        row.type_name = self.symbol(&row.type_name);
                    }
                    Section::Exact(window)
                }
                Section::Regions(mut regions) => {
                    for row in &mut regions.rows {
                        row.name = self.text(&row.name);
                    }
                    Section::Regions(regions)
                }
                // Of a later version: what it says is not known.
                _ => return Ok(true),
            },
        };
        out.push(&redacted)?;
        Ok(true)
    }

    fn outcome(&self, outcome: &mut PolicyOutcome) {
        use heaptide_policy::RejectReason;
        if let PolicyResult::Rejected { reason } = &mut outcome.result {
            match reason {
                RejectReason::WriteFailed { detail } => *detail = self.text(detail),
                RejectReason::Unavailable { what, why } => {
                    *what = self.text(what);
                    *why = self.text(why);
                }
                _ => {}
            }
        }
    }
}

fn replaced(text: &str, words: &[(String, String)]) -> String {
    let mut out = text.to_owned();
    for (word, placeholder) in words {
        if out.contains(word.as_str()) {
            out = out.replace(word.as_str(), placeholder);
        }
    }
    out
}

fn is_path(text: &str) -> bool {
    let bytes = text.as_bytes();
    let drive = bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.get(1) == Some(&b':')
        && matches!(bytes.get(2), Some(b'\\' | b'/'));
    let rooted = ["/", "~/", "./", "../", "\\\\"]
        .iter()
        .any(|start| text.starts_with(start));
    let source = text.contains(['/', '\\']) && SOURCES.iter().any(|end| text.ends_with(end));
    drive || rooted || source
}

fn last_part(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or_default()
}

fn last_parts(path: &str) -> String {
    let parts: Vec<_> = path.split(['/', '\\']).filter(|part| !part.is_empty()).collect();
    parts[parts.len().saturating_sub(PARTS)..].join("/")
}

/// Whether a word is of a pattern, in which `*` stands for any run of characters.
fn matches(pattern: &str, word: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = word.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<_> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
