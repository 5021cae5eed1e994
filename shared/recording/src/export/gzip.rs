//! Gzip around deflate (RFC 1952): a head without a name or time, so that equal input gives equal bytes.

use heaptide_protocol::checksum::crc32;

/// Magic, deflate, no flags, no time, no extra flags, operating system unknown.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
const LEVEL: u8 = 6;

pub(super) fn compress(bytes: &[u8]) -> Vec<u8> {
    let mut out = HEAD.to_vec();
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(bytes, LEVEL));
    out.extend_from_slice(&crc32(bytes).to_le_bytes());
    // Modulo 2^32, as the format has it.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_comes_out() {
        for text in [&b""[..], b"a", &[7; 100_000]] {
            let packed = compress(text);
            let (head, rest) = packed.split_at(10);
            let (body, tail) = rest.split_at(rest.len() - 8);
            assert_eq!(head, HEAD);
            assert_eq!(miniz_oxide::inflate::decompress_to_vec(body).unwrap(), text);
            assert_eq!(tail[..4], crc32(text).to_le_bytes());
            assert_eq!(tail[4..], (text.len() as u32).to_le_bytes());
        }
    }
}
