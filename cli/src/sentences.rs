//! What a person reads on the terminal. Data goes to standard output, everything else to standard error.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is the one place that talks"
)]

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether a progress line stands on the terminal.
static SHOWS_PROGRESS: AtomicBool = AtomicBool::new(false);
const CLEAR_LINE: &str = "\r\x1b[2K";

pub(crate) fn error(error: &anyhow::Error) {
    // Sources that only repeat what their parent said would make one fault look like two.
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    end_progress();
    eprintln!("{} {text}", paint("31;1", "error:"));
}

pub(crate) fn warning(text: &str) {
    end_progress();
    eprintln!("{} {text}", paint("33;1", "warning:"));
}

pub(crate) fn note(text: &str) {
    end_progress();
    eprintln!("{} {text}", paint("2", "heaptide:"));
}

/// One line of a log for programs.
pub(crate) fn log(line: &str) {
    eprintln!("{line}");
}

/// One line that a script may read.
pub(crate) fn data(text: &str) {
    println!("{text}");
}

/// Whole text for standard output.
pub(crate) fn text(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One line that the next word replaces; on a terminal only.
pub(crate) fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        SHOWS_PROGRESS.store(true, Relaxed);
        eprint!("{CLEAR_LINE}{text}");
    }
}

fn end_progress() {
    if SHOWS_PROGRESS.swap(false, Relaxed) {
        eprint!("{CLEAR_LINE}");
    }
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}
