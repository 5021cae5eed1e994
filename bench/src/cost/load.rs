//! Customers of the target `shop`: a fixed number of requests a second over a few kept connections, each
//! answer read to its end and counted.
//!
//! The target has a load generator of its own, but counts nothing, and its clients would be part of the
//! CPU that is measured.

use crate::stats::Random;
use crate::tools::pass;
use anyhow::{Context as _, Result, bail};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const CONNECTIONS: u64 = 8;
const PATIENCE: Duration = Duration::from_secs(10);
/// Words of the shop's catalogue.
const ADJECTIVES: [&str; 5] = ["red", "quiet", "oak", "brass", "heavy"];
const NOUNS: [&str; 5] = ["lamp", "chair", "kettle", "clock", "rug"];

#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    served: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

impl Load {
    pub(super) fn start(address: SocketAddr, requests_per_s: f64) -> Self {
        let shared = Arc::new(Shared::default());
        let every = Duration::from_secs_f64(CONNECTIONS as f64 / requests_per_s);
        let threads = (0..CONNECTIONS)
            .map(|number| {
                let shared = Arc::clone(&shared);
                let offset = every.mul_f64(number as f64 / CONNECTIONS as f64);
                thread::spawn(move || customer(address, number, offset, every, &shared))
            })
            .collect();
        Self { shared, threads }
    }

    pub(super) fn served(&self) -> u64 {
        self.shared.served.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.shared.failed.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A customer that panicked is a customer that has gone.
            let _ = thread.join();
        }
    }
}

/// Asks at an even pace; what it is late for is left out, so that a slow shop is never buried.
fn customer(address: SocketAddr, number: u64, offset: Duration, every: Duration, shared: &Shared) {
    let mut random = Random(number);
    let mut next = Instant::now() + offset;
    let mut connection = None;
    while !shared.stop.load(Ordering::Relaxed) {
        pass(next.saturating_duration_since(Instant::now()));
        next = (next + every).max(Instant::now());
        match request(&mut connection, address, &path(&mut random)) {
            Ok(()) => shared.served.fetch_add(1, Ordering::Relaxed),
            Err(_) => {
                connection = None;
                shared.failed.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// The mix of the shop's own customers: one in eight signs in (and leaves 1 KiB for ever), of the others half
/// search, three in ten look at a product, two at a picture.
fn path(random: &mut Random) -> String {
    if random.below(8) == 0 {
        return format!("/sign-in?user=visitor-{}&history=1024", random.below(100_000));
    }
    match random.below(10) {
        0..5 => format!(
            "/search?q={}+{}",
            ADJECTIVES[random.below(5)],
            NOUNS[random.below(5)]
        ),
        5..8 => format!("/product?id={}", random.below(5000)),
        _ => format!("/thumbnail?id={}", random.below(5000)),
    }
}

fn request(connection: &mut Option<BufReader<TcpStream>>, address: SocketAddr, path: &str) -> Result<()> {
    let reader = match connection {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(BufReader::new(stream))
        }
    };
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    reader.get_mut().write_all(head.as_bytes())?;
    read_answer(reader)
}

/// Reads one answer, whose body has a length or comes in chunks (RFC 9112, 6.3).
fn read_answer(reader: &mut impl BufRead) -> Result<()> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200") {
        bail!("the shop says {line:?}");
    }
    let (mut length, mut chunked) = (None, false);
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<u64>()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    if !chunked {
        return skip(reader, length.context("an answer without a length")?);
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let chunk = u64::from_str_radix(line.trim(), 16)?;
        // The chunk and the line's end behind it.
        skip(reader, chunk + 2)?;
        if chunk == 0 {
            return Ok(());
        }
    }
}

fn skip(reader: &mut impl BufRead, length: u64) -> Result<()> {
    let got = std::io::copy(&mut reader.take(length), &mut std::io::sink())?;
    if got == length {
        Ok(())
    } else {
        bail!("the connection ended after {got} of {length} bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_to_their_end_and_no_further() {
        for (answer, left) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP",
                Some("HTTP"),
            ),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\nnext",
                Some("next"),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", None),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\n\r\n", None),
        ] {
            let mut bytes = answer.as_bytes();
            let result = read_answer(&mut bytes);
            assert_eq!(result.is_ok(), left.is_some(), "{answer:?}");
            if let Some(left) = left {
                assert_eq!(bytes, left.as_bytes());
            }
        }
    }
}
