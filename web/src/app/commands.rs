//! One registry of commands: it feeds the keys, the sheet that lists them, and the rail's links to pages.
//!
//! Keys are physical places (`KeyboardEvent.code`) except `?` and `/`, which are looked for by what they
//! type. In a text field only Escape works.

use crate::url::Tab;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Fleet,
    Dashboards,
    Hub,
    /// A page of the session.
    Tab(Tab),
    Pause,
    Filter,
    Sampling,
    Sheet,
    Clear,
}

/// A key press as far as commands care.
#[derive(Debug, Clone, Copy)]
pub struct Press<'a> {
    pub code: &'a str,
    pub key: &'a str,
    /// Control, Meta or Alt.
    pub modified: bool,
    /// The focus is where text is typed.
    pub in_text: bool,
    /// The focus is on something that Space or Enter works.
    pub on_control: bool,
}

#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub command: Command,
    pub key: &'static str,
    pub what: &'static str,
}

pub const COMMANDS: [Entry; 17] = [
    entry(Command::Fleet, "1", "Fleet: all sessions"),
    entry(Command::Tab(Tab::Live), "2", "Live figures of the session"),
    entry(Command::Tab(Tab::Flame), "3", "Flame graph of the session"),
    entry(
        Command::Tab(Tab::Goroutines),
        "4",
        "Goroutines: who made them, where they wait",
    ),
    entry(Command::Tab(Tab::Pauses), "5", "Collections and pauses"),
    entry(
        Command::Tab(Tab::Mappings),
        "6",
        "Mappings, huge pages, page faults",
    ),
    entry(
        Command::Tab(Tab::Ledger),
        "7",
        "Ledger: what each resident page is for",
    ),
    entry(
        Command::Tab(Tab::Drift),
        "8",
        "Drift: call sites that moved by more than noise",
    ),
    entry(
        Command::Tab(Tab::Exact),
        "9",
        "Exact windows, and how the sources agree",
    ),
    entry(
        Command::Tab(Tab::Doctor),
        "0",
        "Doctor: what can be observed here, and why not",
    ),
    entry(
        Command::Dashboards,
        "D",
        "Dashboards: sums over the fleet by label",
    ),
    entry(Command::Hub, "H", "Hub: policy of the fleet, links, access"),
    entry(Command::Pause, "Space", "Pause, or follow again"),
    entry(Command::Filter, "/", "Filter by function or file"),
    entry(Command::Sampling, "Q", "Open or close the sampling panel"),
    entry(
        Command::Clear,
        "Esc",
        "Clear: panel, filter, selection, zoom, in this order",
    ),
    entry(Command::Sheet, "?", "This list"),
];

const fn entry(command: Command, key: &'static str, what: &'static str) -> Entry {
    Entry { command, key, what }
}

pub fn command_for(press: Press<'_>) -> Option<Command> {
    if press.modified || (press.in_text && press.code != "Escape") {
        return None;
    }
    match (press.key, press.code) {
        ("?", _) => Some(Command::Sheet),
        ("/", _) => Some(Command::Filter),
        (_, "Space") if !press.on_control => Some(Command::Pause),
        (_, "KeyQ") => Some(Command::Sampling),
        (_, "KeyD") => Some(Command::Dashboards),
        (_, "KeyH") => Some(Command::Hub),
        (_, "Escape") => Some(Command::Clear),
        (_, code) => {
            let digit = code
                .strip_prefix("Digit")
                .or_else(|| code.strip_prefix("Numpad"))?;
            let page = COMMANDS.iter().find(|entry| entry.key == digit)?;
            Some(page.command)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Press<'_> = Press {
        code: "",
        key: "",
        modified: false,
        in_text: false,
        on_control: false,
    };

    #[test]
    fn keys_work_outside_of_text_only() {
        let cases = [
            ("Digit1", "1", Some(Command::Fleet)),
            ("Digit2", "2", Some(Command::Tab(Tab::Live))),
            ("Digit3", "3", Some(Command::Tab(Tab::Flame))),
            ("Numpad8", "8", Some(Command::Tab(Tab::Drift))),
            ("Digit0", "0", Some(Command::Tab(Tab::Doctor))),
            ("NumpadEnter", "Enter", None),
            ("Digit", "", None),
            ("Space", " ", Some(Command::Pause)),
            ("Slash", "/", Some(Command::Filter)),
            ("Digit7", "/", Some(Command::Filter)),
            ("Minus", "?", Some(Command::Sheet)),
            ("KeyQ", "q", Some(Command::Sampling)),
            ("KeyD", "d", Some(Command::Dashboards)),
            ("Escape", "Escape", Some(Command::Clear)),
            ("KeyX", "x", None),
        ];
        for (code, key, expected) in cases {
            let press = Press { code, key, ..PLAIN };
            assert_eq!(command_for(press), expected, "{code}");
            let modified = Press {
                modified: true,
                ..press
            };
            assert_eq!(command_for(modified), None, "{code} with Ctrl");
            let in_text = Press {
                in_text: true,
                ..press
            };
            let expected = expected.filter(|command| *command == Command::Clear);
            assert_eq!(command_for(in_text), expected, "{code} in text");
        }
        let on_button = Press {
            code: "Space",
            key: " ",
            on_control: true,
            ..PLAIN
        };
        assert_eq!(command_for(on_button), None);
    }

    #[test]
    fn every_page_has_a_key() {
        for tab in Tab::ALL {
            let entry = COMMANDS.iter().find(|entry| entry.command == Command::Tab(tab));
            assert!(entry.is_some_and(|entry| entry.key.len() == 1), "{tab:?}");
        }
    }

    #[test]
    fn every_command_is_on_the_sheet_once() {
        for entry in COMMANDS {
            let same = COMMANDS
                .iter()
                .filter(|other| other.command == entry.command)
                .count();
            assert_eq!(same, 1, "{:?}", entry.command);
        }
    }
}
