//! As much of the protocol buffers' encoding as a profile takes: varints, and fields with a length
//! (<https://protobuf.dev/programming-guides/encoding>). A field that has its default is left out.

use heaptide_protocol::varint;

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

/// One message being written.
#[derive(Debug, Default)]
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(super) fn unsigned(&mut self, field: u64, value: u64) {
        if value != 0 {
            self.tag(field, VARINT);
            varint::put(&mut self.bytes, value);
        }
    }

    /// int64: negative numbers take ten bytes, two's complement.
    pub(super) fn signed(&mut self, field: u64, value: i64) {
        self.unsigned(field, value as u64);
    }

    pub(super) fn flag(&mut self, field: u64, value: bool) {
        self.unsigned(field, u64::from(value));
    }

    /// Written even when empty: an empty string in a list is an entry.
    pub(super) fn text(&mut self, field: u64, text: &str) {
        self.length_delimited(field, text.as_bytes());
    }

    pub(super) fn message(&mut self, field: u64, message: &Self) {
        self.length_delimited(field, &message.bytes);
    }

    /// A list of numbers, packed. Zeros count.
    pub(super) fn packed(&mut self, field: u64, values: impl IntoIterator<Item = u64>) {
        let mut packed = Vec::new();
        for value in values {
            varint::put(&mut packed, value);
        }
        if !packed.is_empty() {
            self.length_delimited(field, &packed);
        }
    }

    fn length_delimited(&mut self, field: u64, bytes: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        varint::put(&mut self.bytes, bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    fn tag(&mut self, field: u64, wire_type: u64) {
        varint::put(&mut self.bytes, field << 3 | wire_type);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of the encoding's own documentation.
    #[test]
    fn bytes_are_those_of_the_documentation() {
        let mut message = Message::default();
        message.unsigned(1, 150);
        assert_eq!(message.into_bytes(), [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.text(2, "testing");
        assert_eq!(message.into_bytes(), b"\x12\x07testing");
        let mut inner = Message::default();
        inner.unsigned(1, 150);
        let mut message = Message::default();
        message.message(3, &inner);
        assert_eq!(message.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.packed(6, [3, 270, 86942]);
        assert_eq!(
            message.into_bytes(),
            [0x32, 0x06, 0x03, 0x8e, 0x02, 0x9e, 0xa7, 0x05]
        );
        let mut message = Message::default();
        message.signed(1, -2);
        assert_eq!(message.into_bytes().len(), 11);
        let mut message = Message::default();
        message.flag(1, false);
        message.unsigned(2, 0);
        assert!(message.into_bytes().is_empty());
    }
}
