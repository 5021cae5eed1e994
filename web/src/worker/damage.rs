//! Frames that could not be read: counted, with the beginning of the last one kept for a bug report.

use super::messages::Damage;

const KEPT_BYTES: usize = 64;

impl Damage {
    pub(super) fn note(&mut self, what: String, bytes: &[u8]) {
        self.count += 1;
        self.what = what;
        self.hex.clear();
        for (index, byte) in bytes.iter().take(KEPT_BYTES).enumerate() {
            if index > 0 && index % 4 == 0 {
                self.hex.push(' ');
            }
            for digit in [byte >> 4, byte & 15] {
                self.hex.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        if bytes.len() > KEPT_BYTES {
            self.hex.push_str(" …");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_one_short() {
        let mut damage = Damage::default();
        damage.note("first".into(), &[0; 100]);
        assert_eq!(damage.hex.len(), 64 * 2 + 15 + " …".len());
        damage.note("second".into(), b"HTD\x01\xff");
        assert_eq!(
            (damage.count, damage.what.as_str(), damage.hex.as_str()),
            (2, "second", "48544401 ff")
        );
    }
}
