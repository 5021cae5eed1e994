//! Percent coding of query values, both ways, for any input.

/// Unreserved characters and a few that are plain in a query stay as they are; all else is `%XX`.
pub(super) fn encode(text: &str, out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/*():,".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

/// A `%` that is no code stays; bytes that are no UTF-8 become U+FFFD.
pub(super) fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let code = (byte == b'%')
            .then(|| bytes.get(index + 1..index + 3))
            .flatten()
            .and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
        match code {
            Some(code) => {
                out.push(code);
                index += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                index += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_back() {
        for text in [
            "",
            "a b+c",
            "100 %",
            "main.(*T).f[go.shape.int]",
            "é∑\u{1f600}",
            "a=b&c#d?e",
        ] {
            let mut coded = String::new();
            encode(text, &mut coded);
            assert!(
                coded.is_ascii() && !coded.contains(['&', '=', '#', ' ', '+']),
                "{coded}"
            );
            assert_eq!(decode(&coded), text);
        }
    }

    #[test]
    fn broken_codes_stay_and_broken_text_is_marked() {
        for (coded, expected) in [
            ("%", "%"),
            ("%4", "%4"),
            ("%zz", "%zz"),
            ("%FF", "\u{fffd}"),
            ("a+b", "a b"),
        ] {
            assert_eq!(decode(coded), expected, "{coded}");
        }
    }
}
