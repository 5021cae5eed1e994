//! A page and a hub of different protocol versions: the page shows both, and says who should upgrade.

#![expect(clippy::expect_used, reason = "a test that can't be set up has failed")]

use heaptide_e2e::browser::by_id;
use heaptide_e2e::{Browser, Hub, machine, until};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::{Message, accept};

#[test]
fn a_page_of_another_version_says_who_should_upgrade() {
    let test = "browser (versions)";
    let Some(binary) = machine::binary() else {
        machine::skip(test, "HEAPTIDE_BIN names no heaptide binary");
        return;
    };
    let Some(browser) = Browser::start(test) else {
        return;
    };
    let hub = Hub::start(&binary);
    for (version, words) in [(2, "reload it"), (0, "upgrade the hub")] {
        let front = stranger(hub.address, version);
        browser.open(&format!("http://{front}/"));
        let told = browser.until_text(&by_id("refused"), words);
        let versions = format!("console 1, hub {version}");
        assert!(told.contains(&versions), "{told}");
        browser.until_attribute(&by_id("connection"), "data-state", "the refusal", |state| {
            state == "refused"
        });
    }
}

/// Serves the hub's own pages, but answers consoles itself, with frames of another version.
fn stranger(hub: SocketAddr, version: u8) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || serve(&stream, hub, version));
        }
    });
    address
}

fn serve(stream: &TcpStream, hub: SocketAddr, version: u8) -> Option<()> {
    let mut begin = [0; 16];
    until("a request", || match stream.peek(&mut begin) {
        Ok(read) if read == begin.len() || read == 0 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    if begin.starts_with(b"GET /ws/console") {
        let mut socket = accept(stream).ok()?;
        // Version 1's head with another number: what follows it, nobody of version 1 may read.
        let frame = [b"HTD".as_slice(), &[version], &[0; 16]].concat();
        socket.send(Message::binary(frame)).ok()?;
        while socket.read().is_ok() {}
        return None;
    }
    let there = TcpStream::connect(hub).ok()?;
    let (back, forth) = (there.try_clone().ok()?, stream.try_clone().ok()?);
    let answers = std::thread::spawn(move || copy(&back, &forth));
    copy(stream, &there);
    answers.join().ok()
}

fn copy(mut from: &TcpStream, mut to: &TcpStream) {
    let mut part = [0; 1 << 14];
    while let Ok(read) = from.read(&mut part) {
        if read == 0 || to.write_all(&part[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
