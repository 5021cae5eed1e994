//! The HTTP side: files and their headers, origins before an upgrade, limits, health.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test"
)]

mod common;

use common::{get, raw, start, start_with};
use heaptide_hub::{Asset, Assets};
use std::net::SocketAddr;

/// `<!doctype html>console` by `brotli`, as one stored (uncompressed) meta-block.
fn stored_brotli(text: &[u8]) -> Vec<u8> {
    // RFC 7932: WBITS 16 (one zero bit), then ISLAST 0, MNIBBLES 4 (two zero bits), MLEN-1 in 16 bits,
    // ISUNCOMPRESSED 1, padding to a byte; the bytes; then ISLAST 1 and ISLASTEMPTY 1.
    let head = (u32::try_from(text.len()).unwrap() - 1) << 4 | 1 << 20;
    let mut out = head.to_le_bytes()[..3].to_vec();
    out.extend_from_slice(text);
    out.push(3);
    out
}

const INDEX: &[u8] = b"<!doctype html>console";
const WASM: &[u8] = b"\0asm not really";

fn assets() -> Assets {
    let asset = |bytes: &[u8], content_type: &str, immutable| Asset {
        brotli: stored_brotli(bytes).into(),
        content_type: content_type.to_owned(),
        etag: format!("tag{}", bytes.len()),
        immutable,
    };
    Assets::new([
        (
            "index.html".to_owned(),
            asset(INDEX, "text/html; charset=utf-8", false),
        ),
        (
            "console-0123456789abcdef.wasm".to_owned(),
            asset(WASM, "application/wasm", true),
        ),
        (
            "snippets/a-0123456789abcdef.js".to_owned(),
            asset(b"let x;", "text/javascript", true),
        ),
    ])
}

/// Status, lower-case head, body.
async fn answer(address: SocketAddr, path: &str, headers: &str) -> (u16, String, String) {
    split(&get(address, path, headers).await)
}

fn split(answer: &str) -> (u16, String, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, head.to_ascii_lowercase(), body.to_owned())
}

#[tokio::test]
async fn files_come_with_the_right_headers() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| config.assets = assets()).await;
    let index = String::from_utf8_lossy(INDEX);
    let wasm = "/console-0123456789abcdef.wasm";
    let cases: [(&str, &str, u16, &[&str], &str); 12] = [
        (
            "/",
            "",
            200,
            &[
                "content-type: text/html; charset=utf-8",
                "cache-control: no-cache",
                "vary: accept-encoding",
            ],
            &index,
        ),
        ("/index.html", "", 200, &["cache-control: no-cache"], &index),
        (
            "/s/0123456789abcdef0123456789abcdef/flame?view=1",
            "",
            200,
            &["content-type: text/html; charset=utf-8"],
            &index,
        ),
        (
            wasm,
            "",
            200,
            &[
                "content-type: application/wasm",
                "cache-control: public, max-age=31536000, immutable",
                "etag: \"tag15\"",
            ],
            "\0asm not really",
        ),
        (
            wasm,
            "Accept-Encoding: gzip, br\r\n",
            200,
            &["content-encoding: br", "etag: \"tag15-br\""],
            "",
        ),
        (
            wasm,
            "If-None-Match: \"tag15\"\r\n",
            304,
            &["etag: \"tag15\"", "cache-control: public"],
            "",
        ),
        (
            wasm,
            "If-None-Match: \"tag15\"\r\nAccept-Encoding: br\r\n",
            200,
            &["content-encoding: br"],
            "",
        ),
        (
            wasm,
            "If-None-Match: \"x\", W/\"tag15-br\"\r\nAccept-Encoding: br\r\n",
            304,
            &[],
            "",
        ),
        (
            "/snippets/a-0123456789abcdef.js",
            "",
            200,
            &["content-type: text/javascript"],
            "let x;",
        ),
        (
            "/missing.js",
            "",
            404,
            &["content-type: text/plain"],
            "There is no such file.\n",
        ),
        ("/../Cargo.toml", "", 404, &[], "There is no such file.\n"),
        ("/api/v1/nothing", "", 404, &[], "There is no such address.\n"),
    ];
    for (path, headers, status, expected, body) in cases {
        let (got_status, head, got_body) = answer(hub.address, path, headers).await;
        assert_eq!(got_status, status, "{path} {headers:?}: {head}");
        for line in expected {
            assert!(head.contains(line), "{path} {headers:?} lacks {line:?}: {head}");
        }
        if !body.is_empty() {
            assert_eq!(got_body, body, "{path} {headers:?}");
        }
        if !headers.contains("br") {
            assert!(!head.contains("content-encoding"), "{path} {headers:?}: {head}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| config.assets = assets()).await;
    let expected = [
        "content-security-policy: default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data:; font-src 'self'; connect-src 'self'; worker-src 'self'; frame-ancestors 'none'; \
         base-uri 'none'; form-action 'none'",
        "x-content-type-options: nosniff",
        "referrer-policy: no-referrer",
    ];
    for path in ["/", "/missing.js", "/healthz", "/api/v1/stats", "/ws/console"] {
        let (_, head, _) = answer(hub.address, path, "").await;
        for line in expected {
            assert!(head.contains(line), "{path} lacks {line:?}: {head}");
        }
    }
    hub.stop().await;
}

#[tokio::test]
async fn invariant_9_a_foreign_origin_is_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let own = hub.address.to_string();
    let port = hub.address.port();
    let cases = [
        ("collector", own.clone(), None, 101),
        ("collector", own.clone(), Some(format!("http://{own}")), 101),
        (
            "collector",
            own.clone(),
            Some("http://evil.example".to_owned()),
            403,
        ),
        ("console", own.clone(), Some(format!("http://{own}")), 101),
        ("console", own.clone(), None, 403),
        ("console", own.clone(), Some("null".to_owned()), 403),
        (
            "console",
            own.clone(),
            Some(format!("http://127.0.0.1:{}", port ^ 1)),
            403,
        ),
        (
            "console",
            own.clone(),
            Some(format!("http://localhost:{port}")),
            403,
        ),
        (
            "console",
            format!("localhost:{port}"),
            Some(format!("http://localhost:{port}")),
            101,
        ),
        // DNS rebinding: origin and host agree, on a name that isn't ours.
        (
            "console",
            format!("evil.example:{port}"),
            Some(format!("http://evil.example:{port}")),
            403,
        ),
    ];
    for (path, host, origin, expected) in cases {
        let origin = origin.map_or_else(String::new, |origin| format!("Origin: {origin}\r\n"));
        let request = format!(
            "GET /ws/{path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{origin}\r\n"
        );
        let status = first_status(hub.address, &request).await;
        assert_eq!(status, expected, "{path}, host {host}, {origin:?}");
    }
    let (status, _, body) = answer(hub.address, "/ws/collector", "").await;
    assert_eq!(
        (status, body.as_str()),
        (426, "Open this address as a WebSocket.\n")
    );
    hub.stop().await;
}

async fn first_status(address: SocketAddr, request: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    common::patient(stream.read_exact(&mut start)).await.unwrap();
    String::from_utf8_lossy(&start[9..]).parse().unwrap()
}

#[tokio::test]
async fn heads_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(9 << 10));
    let many: String = (0..100).map(|n| format!("X-{n}: 1\r\n")).collect();
    for headers in [long, many] {
        let (status, _, _) = answer(hub.address, "/healthz", &headers).await;
        assert_eq!(status, 431);
    }
    let (status, _, body) = answer(hub.address, "/healthz", "").await;
    assert_eq!((status, body.as_str()), (200, "ok\n"));
    let post = format!(
        "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        hub.address
    );
    let (status, ..) = split(&String::from_utf8_lossy(&raw(hub.address, &post).await));
    assert_eq!(status, 405);
    hub.stop().await;
}

#[tokio::test]
async fn too_many_connections_are_turned_away_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start_with(folder.path(), |config| config.limits.connections = 2).await;
    let first = hub.collector().await;
    let second = hub.collector().await;
    let refused = raw(hub.address, "GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(refused, b"");
    drop((first, second));
    // Their places come free when the hub has noticed.
    while get(hub.address, "/healthz", "").await.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(hub.counter("connections_refused").await >= 1);
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_without_a_console_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let (status, _, body) = answer(hub.address, "/", "").await;
    assert_eq!(status, 404);
    assert!(body.contains("cargo xtask build"), "{body}");
    let (status, _, body) = answer(hub.address, "/readyz", "").await;
    assert_eq!((status, body.as_str()), (200, "ready\n"));
    let (status, _, body) = answer(hub.address, "/api/v1/sessions", "").await;
    assert_eq!((status, body.as_str()), (200, "[]"));
    hub.stop().await;
}

#[tokio::test]
async fn metrics_are_what_prometheus_reads() {
    let folder = tempfile::tempdir().unwrap();
    let hub = start(folder.path()).await;
    let mut collector = hub.collector().await;
    let id = common::session(1);
    collector.open(id, 1).await;
    collector.data(id, 1, b"one").await;
    collector.acked(1).await;
    let (status, head, body) = answer(hub.address, "/metrics", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    let mut told = std::collections::HashMap::new();
    let mut described = std::collections::HashSet::new();
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.trim().is_empty(), "{line}");
            assert!(described.insert(name.to_owned()), "{name} twice");
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split('{').next().unwrap();
            assert!(described.contains(bare), "{bare} comes before its HELP");
            assert!(
                told.insert(name.to_owned(), value.parse::<f64>().unwrap())
                    .is_none(),
                "{name} twice"
            );
        }
    }
    assert_eq!(told["heaptide_hub_frames_durable_total"], 1.0);
    assert_eq!(told["heaptide_hub_sessions{state=\"live\"}"], 1.0);
    assert!(told["heaptide_hub_connections"] >= 1.0);
    hub.stop().await;
}
