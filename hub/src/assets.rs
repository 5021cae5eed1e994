//! The console's files, as the binary carries them: compressed with brotli, under hashed names.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::io::Read as _;

const INDEX: &str = "index.html";
/// A file that unpacks to more than this is not one of ours.
const MAX_UNPACKED_BYTES: u64 = 64 << 20;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// The contents, compressed with brotli.
    pub brotli: Bytes,
    pub content_type: String,
    /// Changes with the contents; without quotes.
    pub etag: String,
    /// The name changes with the contents, so a browser may keep it for ever.
    pub immutable: bool,
}

/// Files by path, without a leading slash. `index.html` answers for every page of the console.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assets {
    files: BTreeMap<String, Asset>,
}

impl Assets {
    pub fn new(files: impl IntoIterator<Item = (String, Asset)>) -> Self {
        Self {
            files: files.into_iter().collect(),
        }
    }

    /// The answer to a GET of `path`.
    pub(crate) fn respond(&self, path: &str, request: &HeaderMap) -> Response<Body> {
        let path = path.trim_start_matches('/');
        let is_page = !path.rsplit('/').next().is_some_and(|last| last.contains('.'));
        let found = self
            .files
            .get(path)
            .or_else(|| is_page.then(|| self.files.get(INDEX)).flatten());
        match found {
            Some(asset) => asset.respond(request),
            None if is_page && self.files.is_empty() => sentence(
                StatusCode::NOT_FOUND,
                "This hub was built without the console: build the binary with `cargo xtask build`.\n",
            ),
            None => sentence(StatusCode::NOT_FOUND, "There is no such file.\n"),
        }
    }
}

impl Asset {
    fn respond(&self, request: &HeaderMap) -> Response<Body> {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        let as_is = accepts_brotli(request);
        // Two encodings are two representations, so each has a tag of its own.
        let etag = format!("\"{}{}\"", self.etag, if as_is { "-br" } else { "" });
        let cache = if self.immutable {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/") == etag);
        if let Ok(value) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, value);
        }
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        if let Ok(value) = HeaderValue::from_str(&self.content_type) {
            headers.insert(header::CONTENT_TYPE, value);
        }
        if as_is {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("br"));
            *response.body_mut() = Body::from(self.brotli.clone());
            return response;
        }
        match unpack(&self.brotli) {
            Some(bytes) => *response.body_mut() = Body::from(bytes),
            None => return sentence(StatusCode::INTERNAL_SERVER_ERROR, "This file is damaged.\n"),
        }
        response
    }
}

/// RFC 9110, section 12.5.3: `br` or `*`, unless its weight is zero.
fn accepts_brotli(request: &HeaderMap) -> bool {
    let mut any = false;
    for value in request.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts
                .find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")))
                .map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
            if name.eq_ignore_ascii_case("br") {
                return weight > 0.0;
            }
            any |= name == "*" && weight > 0.0;
        }
    }
    any
}

fn unpack(brotli: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    brotli_decompressor::Decompressor::new(brotli, 16 << 10)
        .take(MAX_UNPACKED_BYTES + 1)
        .read_to_end(&mut out)
        .ok()?;
    (out.len() as u64 <= MAX_UNPACKED_BYTES).then_some(out)
}

pub(crate) fn sentence(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brotli_is_sent_only_to_who_takes_it() {
        let cases = [
            ("br", true),
            ("gzip, deflate, br, zstd", true),
            ("gzip, BR;q=0.5", true),
            ("*", true),
            ("br;q=0, *", false),
            ("br; q=0.0", false),
            ("gzip", false),
            ("identity", false),
            ("brotli", false),
            ("", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            assert_eq!(accepts_brotli(&headers), expected, "{value:?}");
        }
        assert!(!accepts_brotli(&HeaderMap::new()));
    }
}
