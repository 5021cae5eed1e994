//! Random bits from the operating system, what is kept of a secret, and comparing without telling.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// What is kept of a secret of 128 random bits: nobody finds those from it by trying.
pub(crate) type Hash = [u8; 32];

pub(crate) fn random() -> Result<[u8; 16], String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system gives no random bits: {error}"))?;
    Ok(bytes)
}

pub(crate) fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// In the same time whether and wherever they differ.
pub(crate) fn is_same(one: &Hash, other: &Hash) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_different_bit_is_a_difference() {
        let hash = hash("a");
        assert!(is_same(&hash, &hash.clone()));
        for bit in 0..256 {
            let mut other = hash;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_same(&hash, &other), "bit {bit}");
        }
    }

    #[test]
    fn two_random_ones_differ() {
        assert_ne!(random().unwrap(), random().unwrap());
    }
}
