//! Files of `/proc` and `/sys`, which have no size until they are read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The kernel gives a page at a time of most of them; a longer one takes more calls.
const ROOM_BYTES: usize = 8 << 10;

/// The whole file, by as few calls as there can be: the standard library's own asks for its size and then feels its
/// way, a dozen calls for a file of three lines.
pub(crate) fn read(path: impl AsRef<Path>) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut bytes = vec![0; ROOM_BYTES];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
        match file.read(bytes.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(got) => length += got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_files_come_whole() {
        let folder = tempfile::tempdir().unwrap();
        for length in [0, 1, ROOM_BYTES - 1, ROOM_BYTES, ROOM_BYTES + 1, 5 * ROOM_BYTES] {
            let path = folder.path().join("file");
            let text: String = ('a'..='z').cycle().take(length).collect();
            std::fs::write(&path, &text).unwrap();
            assert_eq!(read(&path).unwrap(), text, "{length} bytes");
        }
        let maps = read("/proc/self/maps").unwrap();
        assert!(maps.lines().count() > 1 && maps.ends_with('\n'));
        assert_eq!(read("/proc/none").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_no_text_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [0xFF]).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
