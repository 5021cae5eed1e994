//! What a tracepoint's record looks like in the running kernel: `events/CATEGORY/NAME/format` in tracefs.

use super::{error::BpfError, tracefs::tracefs_path};

/// The text of a format file.
pub(super) struct Format(String);

impl Format {
    /// Reads it; `None` if the kernel has no such tracepoint.
    pub(super) fn read(category: &str, name: &str) -> Result<Option<Self>, BpfError> {
        let place = tracefs_path().ok_or_else(BpfError::no_tracefs)?;
        let path = place.join("events").join(category).join(name).join("format");
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self(text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BpfError::Read { path, source }),
        }
    }

    /// Offset and size of a field.
    pub(super) fn field(&self, name: &str) -> Option<(u32, u32)> {
        self.0.lines().find_map(|line| {
            // `	field:unsigned long address;	offset:8;	size:8;	signed:0;`
            let mut parts = line.trim().strip_prefix("field:")?.split(';').map(str::trim);
            let declared = parts.next()?.rsplit([' ', '*']).next()?;
            if declared.split('[').next()? != name {
                return None;
            }
            let offset = parts.next()?.strip_prefix("offset:")?.parse().ok()?;
            let size = parts.next()?.strip_prefix("size:")?.parse().ok()?;
            Some((offset, size))
        })
    }

    /// The number that is printed as `word`: `{1, "succeeded"}`.
    pub(super) fn number_of(&self, word: &str) -> Option<u32> {
        let quoted = format!("\"{word}\"");
        let (before, _) = self.0.split_once(&quoted)?;
        let (_, number) = before.rsplit_once('{')?;
        number.trim().trim_end_matches(',').parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_words_are_found() {
        let format = Format(
            "format:\n\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n\
             \tfield:struct mm_struct * mm;\toffset:8;\tsize:8;\tsigned:0;\n\
             \tfield:char comm[16];\toffset:16;\tsize:16;\tsigned:0;\n\
             print fmt: \"%s\", __print_symbolic(REC->status, {0, \"failed\"}, { 12, \"done\"})\n"
                .to_owned(),
        );
        let fields = [
            ("mm", Some((8, 8))),
            ("comm", Some((16, 16))),
            ("pid", None),
            ("common_pid", Some((4, 4))),
        ];
        for (name, expected) in fields {
            assert_eq!(format.field(name), expected, "{name}");
        }
        for (word, expected) in [("failed", Some(0)), ("done", Some(12)), ("gone", None)] {
            assert_eq!(format.number_of(word), expected, "{word}");
        }
    }
}
