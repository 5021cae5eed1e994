//! CRC-32/IEEE of a frame.
//!
//! Natively by `crc32fast`, which uses the processor's carry-less multiplication. In the browser by a table
//! that is made at the first use: the crate's own tables are 16 KB that don't compress, a twentieth of the
//! console's download.

/// CRC-32/IEEE, as in zlib.
pub fn crc32(bytes: &[u8]) -> u32 {
    #[cfg(not(target_arch = "wasm32"))]
    {
        crc32fast::hash(bytes)
    }
    #[cfg(target_arch = "wasm32")]
    {
        sliced::crc32(bytes)
    }
}

#[cfg(any(test, target_arch = "wasm32"))]
mod sliced {
    use std::sync::OnceLock;

    /// Bytes that one step takes.
    const SLICES: usize = 8;
    const POLYNOMIAL: u32 = 0xedb8_8320;

    type Tables = [[u32; 256]; SLICES];

    /// Slicing by eight: the tables say what a byte does to the sum after 0 to 7 more bytes.
    pub(super) fn crc32(bytes: &[u8]) -> u32 {
        static TABLES: OnceLock<Box<Tables>> = OnceLock::new();
        let tables = TABLES.get_or_init(|| Box::new(tables()));
        let mut sum = u32::MAX;
        let mut chunks = bytes.chunks_exact(SLICES);
        for chunk in &mut chunks {
            let mut next = 0;
            for (index, byte) in chunk.iter().enumerate() {
                let from_sum = if index < 4 { (sum >> (8 * index)) as u8 } else { 0 };
                next ^= tables[SLICES - 1 - index][usize::from(byte ^ from_sum)];
            }
            sum = next;
        }
        for byte in chunks.remainder() {
            sum = sum >> 8 ^ tables[0][usize::from(*byte ^ sum as u8)];
        }
        !sum
    }

    fn tables() -> Tables {
        let mut tables = [[0; 256]; SLICES];
        for byte in 0..=255_u8 {
            let mut sum = u32::from(byte);
            for _ in 0..8 {
                sum = if sum & 1 == 1 {
                    sum >> 1 ^ POLYNOMIAL
                } else {
                    sum >> 1
                };
            }
            tables[0][usize::from(byte)] = sum;
        }
        for slice in 1..SLICES {
            for byte in 0..256 {
                let before: u32 = tables[slice - 1][byte];
                tables[slice][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            }
        }
        tables
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_browser_s_sum_is_the_native_one() {
        assert_eq!(
            super::crc32(b"123456789"),
            0xcbf4_3926,
            "the standard's check value"
        );
        let bytes: Vec<u8> = (0..1_000_u32).map(|index| ((index * index) >> 3) as u8).collect();
        for length in (0..70).chain([999, 1_000]) {
            let bytes = &bytes[..length];
            assert_eq!(super::sliced::crc32(bytes), super::crc32(bytes), "{length} bytes");
        }
    }
}
