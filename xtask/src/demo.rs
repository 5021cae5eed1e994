//! `cargo xtask demo`: one command from a fresh machine to a Go service's memory in the browser.
//!
//! It installs, builds, and starts two processes: the hub, and `heaptide run` with the sample service
//! under it. Both end with this command, the collector first (see [`crate::children`]).

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lexopt::prelude::*;

use crate::children::Managed;
use crate::place::Place;
use crate::progress::{Steps, shown};
use crate::setup::{Extent, GO_DEFAULT, Wanted};
use crate::toolchain::Choice;
use crate::{ability, build, setup};

const HELP: &str = "\
Install what is missing, build all, and watch a sample Go service in the browser. Ctrl-C stops everything.

Usage: cargo xtask demo [OPTIONS] [-- ARGS of the sample service]

  --addr ADDR      where the console listens; by default the first free port of 127.0.0.1:7070 to 7079
  --debug          don't optimise the binary
  --toolchain WAY  build the console and the eBPF programs with rustup, distro, or auto (default)

The sample service is e2e/targets/shop; `-- -h` lists its options.
";

const FIRST_PORT: u16 = 7070;
const PORTS: u16 = 10;
/// How long the hub may take until it listens.
const START_LIMIT: Duration = Duration::from_secs(15);

pub(crate) fn command(mut args: lexopt::Parser) -> Result<ExitCode> {
    let mut options = build::Options {
        release: true,
        choice: Choice::Auto,
    };
    let mut address = None;
    let mut service_args = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("addr") => address = Some(args.value()?.parse::<SocketAddr>()?),
            Long("release") => options.release = true,
            Long("debug") => options.release = false,
            Long("toolchain") => options.choice = Choice::parse(&args.value()?.string()?)?,
            Value(first) => {
                service_args.push(first);
                service_args.extend(args.raw_args()?);
            }
            Long("help") | Short('h') => {
                print!("{HELP}");
                return Ok(ExitCode::SUCCESS);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    // Said at once, not after minutes of building; the port may still be taken meanwhile.
    if address.is_some() {
        choose(address)?;
    }
    let place = Place::find()?;
    setup::ensure(
        &place,
        Wanted {
            choice: options.choice,
            extent: Extent::Demo,
        },
    )?;
    let mut steps = Steps::new(&place, build::STEPS + 1);
    let heaptide = build::all(&place, &mut steps, options)?;
    let service = build_service(&place, &mut steps)?;

    let address = choose(address)?;
    let mut hub_command = hub(&place, &heaptide, address)?;
    let mut run_command = collector(&heaptide, address, &service);
    run_command.args(&service_args);
    if let Some(why) = ability::no_bpf() {
        bail!(
            "the sample can't be watched here: {why}\n  with the right, these two do by hand what the demo does:\n  \
             {}\n  sudo {}",
            shown(&hub_command),
            shown(&run_command)
        );
    }
    let hub_log = log_to(&place, &format!("demo-hub-{}", address.port()), &mut hub_command)?;
    let run_log = log_to(&place, &format!("demo-run-{}", address.port()), &mut run_command)?;
    let mut hub = Managed::spawn(&mut hub_command)?;
    wait_until_it_listens(&mut hub, address, &hub_log)?;
    let mut collector = Managed::spawn(&mut run_command)?;
    println!("\n  The sample shop's memory, live:  http://{address}/\n");
    println!(
        "  Ctrl-C stops everything. Logs: {} and {}",
        hub_log.display(),
        run_log.display()
    );

    let (name, status, log) = first_end([
        ("hub", &mut hub, hub_log.as_path()),
        ("collector", &mut collector, run_log.as_path()),
    ])?;
    crate::children::wait_if_stopping();
    bail!(
        "the {name} has ended ({status}), and the demo with it\n{}",
        last_lines(log)
    )
}

/// The sample service, built with the newest Go.
fn build_service(place: &Place, steps: &mut Steps<'_>) -> Result<PathBuf> {
    let service = place.cache.join("demo/shop");
    let mut go = Command::new(place.go(GO_DEFAULT[0]));
    go.current_dir(place.root.join("e2e/targets/shop"))
        .args(["build", "-o"])
        .arg(&service)
        .arg(".")
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local")
        .env("GOTELEMETRY", "off")
        .env("GOCACHE", place.cache.join("go-build"))
        .env_remove("GOROOT");
    steps.run("sample service", &mut go)?;
    Ok(service)
}

fn hub(place: &Place, heaptide: &Path, address: SocketAddr) -> Result<Command> {
    // A demo begins with an empty fleet: what an earlier one left is nothing that anyone kept.
    let data = place.cache.join(format!("demo/data-{}", address.port()));
    if data.exists() {
        fs::remove_dir_all(&data).with_context(|| format!("can't remove {}", data.display()))?;
    }
    let mut command = Command::new(heaptide);
    command
        .arg("hub")
        .arg("--listen")
        .arg(address.to_string())
        .arg("--data")
        .arg(data);
    Ok(command)
}

fn collector(heaptide: &Path, address: SocketAddr, service: &Path) -> Command {
    let mut command = Command::new(heaptide);
    command
        .arg("run")
        .arg("--hub")
        .arg(format!("ws://{address}"))
        .arg("--allow-rate-write")
        .arg("--")
        .arg(service);
    command
}

/// The address that was asked for, if it is free; without one, the first free port of ours.
fn choose(asked: Option<SocketAddr>) -> Result<SocketAddr> {
    if let Some(address) = asked {
        TcpListener::bind(address).with_context(|| {
            format!("can't listen on {address}: choose another with --addr, or leave it out")
        })?;
        return Ok(address);
    }
    let ports = FIRST_PORT..FIRST_PORT + PORTS;
    let free = ports
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok());
    let address = free.with_context(|| {
        format!(
            "ports {FIRST_PORT} to {} are all taken: name a free one with --addr",
            FIRST_PORT + PORTS - 1
        )
    })?;
    if address.port() != FIRST_PORT {
        eprintln!("port {FIRST_PORT} is taken: using {}", address.port());
    }
    Ok(address)
}

fn log_to(place: &Place, name: &str, command: &mut Command) -> Result<PathBuf> {
    fs::create_dir_all(place.logs()).context("can't create the folder for logs")?;
    let path = place.logs().join(format!("{name}.log"));
    let log = File::create(&path).with_context(|| format!("can't write {}", path.display()))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(path)
}

fn wait_until_it_listens(hub: &mut Managed, address: SocketAddr, log: &Path) -> Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
        if let Some(status) = hub.poll()? {
            bail!("the hub has ended ({status})\n{}", last_lines(log));
        }
        if Instant::now() > deadline {
            bail!(
                "the hub does not listen on {address} after {} s\n{}",
                START_LIMIT.as_secs(),
                last_lines(log)
            );
        }
        pause(Duration::from_millis(50));
    }
    Ok(())
}

/// Waits until one of the processes ends.
fn first_end<'a, const N: usize>(
    mut processes: [(&'static str, &mut Managed, &'a Path); N],
) -> Result<(&'static str, ExitStatus, &'a Path)> {
    loop {
        for (name, process, log) in &mut processes {
            if let Some(status) = process.poll()? {
                return Ok((*name, status, *log));
            }
        }
        pause(Duration::from_millis(200));
    }
}

/// Waits on nothing: the two places that need it look at several things, none of which wakes us.
fn pause(time: Duration) {
    let (_keep, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(time);
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    crate::progress::tail(&String::from_utf8_lossy(&text), 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_told_and_stepped_over() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = format!("{:#}", choose(Some(address)).unwrap_err());
        assert!(
            error.contains(&format!("can't listen on {address}: choose another with --addr")),
            "{error}"
        );
        drop(taken);
        assert_eq!(choose(Some(address)).unwrap(), address);
    }
}
