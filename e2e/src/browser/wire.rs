//! One HTTP/1.1 request to chromedriver on this machine, and its JSON answer (W3C WebDriver, section 6).
//!
//! A connection per request: at a few requests a second nothing is gained by keeping one. Left out: whatever
//! chromedriver doesn't do, such as chunked bodies.

use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A page that loads slowly keeps its command waiting. Longer than chromedriver's own limits.
const LIMIT: Duration = Duration::from_secs(120);

/// The `value` of the answer, or what went wrong in words.
pub(super) fn request(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let answer = exchange(driver, method, path, body).map_err(|error| format!("{method} {path}: {error}"))?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or_else(|| format!("{method} {path}: no whole head in {answer:?}"))?;
    let mut value: Value =
        serde_json::from_str(body).map_err(|error| format!("{method} {path}: {error} in {body:?}"))?;
    let value = value["value"].take();
    if head.split(' ').nth(1) == Some("200") {
        return Ok(value);
    }
    let message = value["message"].as_str().unwrap_or_default();
    Err(format!("{path}: {}: {}", value["error"], first_line(message)))
}

fn exchange(driver: SocketAddr, method: &str, path: &str, body: &Value) -> std::io::Result<String> {
    let body = match method {
        "POST" => body.to_string(),
        _ => String::new(),
    };
    let mut stream = TcpStream::connect(driver)?;
    stream.set_read_timeout(Some(LIMIT))?;
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nConnection: close\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    let mut part = [0; 1 << 16];
    while !is_whole(&answer) {
        match stream.read(&mut part)? {
            0 => break,
            read => answer.extend_from_slice(&part[..read]),
        }
    }
    String::from_utf8(answer).map_err(std::io::Error::other)
}

/// By its own `Content-Length`: chromedriver may keep the connection open.
fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let length = String::from_utf8_lossy(&answer[..head])
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, length)| length.trim().parse::<usize>().ok());
    length.is_some_and(|length| answer.len() >= head + 4 + length)
}

/// chromedriver appends its own stack trace.
fn first_line(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", false),
            ("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\n{}", true),
            ("HTTP/1.1 200 OK\r\nX: 2\r\n\r\n{}", false),
        ];
        for (answer, expected) in cases {
            assert_eq!(is_whole(answer.as_bytes()), expected, "{answer:?}");
        }
    }
}
