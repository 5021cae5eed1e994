//! Who may ask: the `Host` and `Origin` headers of a request.
//!
//! A page of another site can make a browser open a WebSocket here; its `Origin` gives it away. A page that
//! was reached under a name of its own that now resolves to this machine (DNS rebinding) has the right
//! origin but the wrong host, so a hub on a loopback address only answers to loopback names.

use axum::http::{HeaderMap, HeaderName, header};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Allowed,
    /// A sentence for the response.
    Denied(String),
}

/// Whether a request's `Host` names this hub. `None` for `names` allows any.
pub(crate) fn check_host(headers: &HeaderMap, names: Option<&[String]>) -> Verdict {
    let Some(host) = text(headers, &header::HOST) else {
        return Verdict::Denied("the request has no Host header".to_owned());
    };
    let Some(names) = names else {
        return Verdict::Allowed;
    };
    let (name, _) = split_port(host);
    let name = name.to_ascii_lowercase();
    let loopback =
        matches!(name.as_str(), "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost");
    if loopback || names.iter().any(|allowed| allowed.eq_ignore_ascii_case(&name)) {
        Verdict::Allowed
    } else {
        Verdict::Denied(format!(
            "this hub listens on a loopback address and doesn't answer to the name {name:?}: use localhost"
        ))
    }
}

/// Whether a WebSocket may be opened, or a request answered. Only programs, which have no origin, may leave it out.
/// Where the hub itself speaks TLS, its pages do too; without, a proxy before it may.
pub(crate) fn check_origin(headers: &HeaderMap, may_be_missing: bool, only_https: bool) -> Verdict {
    if headers.get_all(header::ORIGIN).iter().count() > 1 {
        return Verdict::Denied("the request has more than one Origin header".to_owned());
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return if may_be_missing {
            Verdict::Allowed
        } else {
            Verdict::Denied(
                "the request has no Origin header: this needs the page that the hub serves".to_owned(),
            )
        };
    };
    let origin = origin.to_str().unwrap_or_default();
    let host = text(headers, &header::HOST).unwrap_or_default();
    let same = origin
        .split_once("://")
        .filter(|(scheme, _)| !only_https || *scheme == "https")
        .and_then(|(scheme, authority)| Some((authority, default_port(scheme)?)))
        .is_some_and(|(authority, port)| normal(authority, port) == normal(host, port));
    if same {
        Verdict::Allowed
    } else {
        Verdict::Denied(format!(
            "a page of {origin:?} may not open a connection to {host:?}"
        ))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().filter(|value| !value.is_empty())
}

fn default_port(scheme: &str) -> Option<&'static str> {
    match scheme {
        "http" => Some("80"),
        "https" => Some("443"),
        _ => None,
    }
}

fn normal<'a>(authority: &'a str, default_port: &'a str) -> (String, &'a str) {
    let (name, port) = split_port(authority);
    (name.to_ascii_lowercase(), port.unwrap_or(default_port))
}

/// Splits `name:port`; an IPv6 address stands in brackets.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if !host.is_empty() {
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        }
        headers
    }

    #[test]
    fn origin_must_be_the_host() {
        let cases = [
            ("127.0.0.1:7070", Some("http://127.0.0.1:7070"), true),
            ("Hub.example:80", Some("http://hub.example"), true),
            ("hub.example", Some("https://hub.example:443"), true),
            ("hub.example", Some("https://hub.example"), true),
            ("[::1]:7070", Some("http://[::1]:7070"), true),
            ("127.0.0.1:7070", Some("http://127.0.0.1:7071"), false),
            ("127.0.0.1:7070", Some("http://localhost:7070"), false),
            ("127.0.0.1:7070", Some("http://evil.example:7070"), false),
            (
                "127.0.0.1:7070",
                Some("http://127.0.0.1:7070.evil.example"),
                false,
            ),
            (
                "127.0.0.1:7070",
                Some("http://evil.example/127.0.0.1:7070"),
                false,
            ),
            ("hub.example", Some("http://hub.example:443"), false),
            ("hub.example", Some("null"), false),
            ("hub.example", Some("file://hub.example"), false),
            ("hub.example", Some(""), false),
            ("", Some("http://"), true),
            ("[::1]", Some("http://[::1]:81"), false),
        ];
        for (host, origin, expected) in cases {
            let got = check_origin(&headers(host, origin), true, false);
            assert_eq!(got == Verdict::Allowed, expected, "{host:?} {origin:?}: {got:?}");
        }
        assert_eq!(check_origin(&headers("h", None), true, true), Verdict::Allowed);
        assert_ne!(check_origin(&headers("h", None), false, false), Verdict::Allowed);
        for (origin, only_https, allowed) in [
            ("https://h", true, true),
            ("https://h", false, true),
            ("http://h", true, false),
            ("http://h", false, true),
        ] {
            let got = check_origin(&headers("h", Some(origin)), false, only_https);
            assert_eq!(
                got == Verdict::Allowed,
                allowed,
                "{origin}, only https: {only_https}"
            );
        }
        let mut twice = headers("h", Some("http://h"));
        twice.append(header::ORIGIN, HeaderValue::from_static("http://evil"));
        assert_ne!(check_origin(&twice, true, false), Verdict::Allowed);
    }

    #[test]
    fn a_loopback_hub_answers_to_loopback_names() {
        let names = ["devbox".to_owned()];
        let cases = [
            ("localhost:7070", true),
            ("LOCALHOST", true),
            ("127.0.0.1:1", true),
            ("[::1]:7070", true),
            ("hub.localhost", true),
            ("DevBox:7070", true),
            ("evil.example:7070", false),
            ("notlocalhost", false),
            ("localhost.evil.example", false),
            ("", false),
        ];
        for (host, expected) in cases {
            let got = check_host(&headers(host, None), Some(&names));
            assert_eq!(got == Verdict::Allowed, expected, "{host:?}: {got:?}");
        }
        assert_eq!(check_host(&headers("anything", None), None), Verdict::Allowed);
        assert_ne!(check_host(&headers("", None), None), Verdict::Allowed);
    }
}
