//! Addresses under a share link: `/s/SECRET` stands in the address bar where `/s/ID` stands inside.
//!
//! Pure. A secret has 22 characters, a session's id 32.

const SECRET_CHARS: usize = 22;

/// What the address bar names the session by, and by what it is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedAs {
    pub secret: String,
    pub session: String,
}

/// The secret that a path begins with, if it is that of a link.
pub fn secret_of(path: &str) -> Option<&str> {
    let secret = path.strip_prefix("/s/")?.split('/').next()?;
    let is_one = secret.len() == SECRET_CHARS
        && secret
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    is_one.then_some(secret)
}

impl SharedAs {
    /// From the address bar.
    pub fn inward(&self, path: &str) -> String {
        swap(path, &self.secret, &self.session)
    }

    /// To the address bar.
    pub fn outward(&self, path: &str) -> String {
        swap(path, &self.session, &self.secret)
    }
}

fn swap(path: &str, from: &str, to: &str) -> String {
    let rest = path.strip_prefix("/s/").and_then(|rest| rest.strip_prefix(from));
    match rest {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => format!("/s/{to}{rest}"),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "AbCdEfGhIjKlMnOpQr-_12";
    const ID: &str = "00112233445566778899aabbccddeeff";

    #[test]
    fn secrets_are_told_from_ids() {
        for (path, expected) in [
            (format!("/s/{SECRET}"), Some(SECRET)),
            (format!("/s/{SECRET}/flame"), Some(SECRET)),
            (format!("/s/{ID}"), None),
            ("/s/".to_owned(), None),
            ("/".to_owned(), None),
            (format!("/s/{}", "é".repeat(11)), None),
        ] {
            assert_eq!(secret_of(&path), expected, "{path}");
        }
    }

    #[test]
    fn paths_go_in_and_out() {
        let shared = SharedAs {
            secret: SECRET.to_owned(),
            session: ID.to_owned(),
        };
        for rest in ["", "/flame", "?v=1&r=all", "/ledger?v=1"] {
            let (outside, inside) = (format!("/s/{SECRET}{rest}"), format!("/s/{ID}{rest}"));
            assert_eq!(shared.inward(&outside), inside);
            assert_eq!(shared.outward(&inside), outside);
        }
        for other in ["/", "/hub", "/s/00112233445566778899aabbccddee00", "/x"] {
            assert_eq!(shared.outward(other), other);
        }
    }
}
