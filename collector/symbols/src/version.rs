//! Go versions, and which of them the tables of this crate cover.

use std::fmt;

/// Oldest 1.x whose runtime offsets are in the table.
pub const OLDEST_MINOR: u32 = 19;
/// Newest 1.x whose runtime offsets are in the table.
pub const NEWEST_MINOR: u32 = 27;

/// The version that a toolchain wrote into a binary, e.g. `go1.27.3`,
/// `go1.26.0 X:nogreenteagc` or `devel go1.28-0ee1ee9`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoVersion {
    /// As written.
    pub text: String,
    /// 1 in every Go to date.
    pub major: u32,
    /// 27 in `go1.27.3`.
    pub minor: u32,
}

/// How much of a binary can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Support {
    /// The version is in the table.
    Full,
    /// Functions, probe sites and frames work as far as the file format has not
    /// changed, but there are no runtime offsets for this version.
    UnknownVersion {
        /// Version in the file; `None` if it has no readable build information.
        found: Option<GoVersion>,
        /// Oldest minor version in the table.
        oldest_minor: u32,
        /// Newest minor version in the table.
        newest_minor: u32,
    },
}

impl GoVersion {
    /// Reads a version text; `None` if it holds no `go<major>.<minor>`.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers = text.split_ascii_whitespace().find_map(|word| {
            word.strip_prefix("go")
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        let (major, rest) = leading_number(numbers)?;
        let (minor, _) = leading_number(rest.strip_prefix('.')?)?;
        Some(Self {
            text: text.to_owned(),
            major,
            minor,
        })
    }

    /// Older than the oldest in the table.
    #[must_use]
    pub fn is_too_old(&self) -> bool {
        (self.major, self.minor) < (1, OLDEST_MINOR)
    }

    pub(crate) fn is_supported(&self) -> bool {
        self.major == 1 && (OLDEST_MINOR..=NEWEST_MINOR).contains(&self.minor)
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Support {
    pub(crate) fn of(version: Option<&GoVersion>) -> Self {
        match version {
            Some(version) if version.is_supported() => Self::Full,
            found => Self::UnknownVersion {
                found: found.cloned(),
                oldest_minor: OLDEST_MINOR,
                newest_minor: NEWEST_MINOR,
            },
        }
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("supported"),
            Self::UnknownVersion {
                found,
                oldest_minor,
                newest_minor,
            } => {
                match found {
                    Some(version) => write!(f, "Go version {version} is outside the table")?,
                    None => f.write_str("the Go version cannot be read")?,
                }
                write!(
                    f,
                    " (go1.{oldest_minor} to go1.{newest_minor}): no runtime offsets for it"
                )
            }
        }
    }
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_texts() {
        for (text, expect) in [
            ("go1.27.3", Some((1, 27))),
            ("go1.21", Some((1, 21))),
            ("go1.26rc1", Some((1, 26))),
            ("go1.26.0 X:nogreenteagc", Some((1, 26))),
            ("devel go1.28-0ee1ee9 Mon Nov 3", Some((1, 28))),
            ("go1.24.1-custom", Some((1, 24))),
            ("", None),
            ("gopher", None),
            ("go1", None),
            ("go1.", None),
            ("go99999999999.1", None),
        ] {
            assert_eq!(
                GoVersion::parse(text).map(|v| (v.major, v.minor)),
                expect,
                "{text:?}"
            );
        }
    }

    #[test]
    fn only_what_is_older_than_the_table_is_too_old() {
        for (text, expect) in [
            ("go1.18.10", true),
            ("go1.19", false),
            ("go1.27.3", false),
            ("go1.99", false),
            ("go2.0", false),
        ] {
            let version = GoVersion::parse(text);
            assert_eq!(
                version.map(|version| version.is_too_old()),
                Some(expect),
                "{text}"
            );
        }
    }

    #[test]
    fn versions_outside_the_table_say_which_and_what_is_covered() {
        let found = GoVersion::parse("go1.28.1");
        assert_eq!(
            Support::of(found.as_ref()).to_string(),
            "Go version go1.28.1 is outside the table (go1.19 to go1.27): no runtime offsets for it"
        );
        assert_eq!(Support::of(GoVersion::parse("go1.21.0").as_ref()), Support::Full);
        assert_ne!(Support::of(GoVersion::parse("go2.21.0").as_ref()), Support::Full);
        assert_eq!(Support::of(GoVersion::parse("go1.19.8").as_ref()), Support::Full);
        assert_ne!(Support::of(GoVersion::parse("go1.18.10").as_ref()), Support::Full);
    }
}
