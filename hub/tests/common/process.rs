//! A hub in a process of its own, which is this very test started again: it can be killed, its memory can be read, and
//! its disk can be a bad one ([`super::disk`]).

#![allow(clippy::print_stdout, reason = "the test reads it")]

use super::{Client, patient};
use heaptide_hub::{Hub, HubConfig, Log};
use heaptide_protocol::control::Role;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const PLACE: &str = "HEAPTIDE_TEST_HUB_PLACE";
const MARK: &str = "hub listens on ";

/// Runs a hub until standard input ends, if it is one that [`HubProcess::start`] asked for. Called by an ignored test
/// named `hub_part`.
pub async fn be_a_hub(change: impl FnOnce(&mut HubConfig)) {
    let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let mut config = HubConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), place.join("data"));
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(place.join("log"))
        .unwrap();
    config.log = Log::new(move |record| writeln!(&log, "{:?}: {record}", record.level).unwrap());
    // Tests send one frame at a time, and wait for it.
    config.limits.ack_every = std::time::Duration::ZERO;
    change(&mut config);
    let hub = Hub::bind(config).await.unwrap();
    println!("\n{MARK}{}", hub.address());
    let ended = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    hub.run(async {
        let _ = ended.await;
    })
    .await;
}

pub struct HubProcess {
    pub address: SocketAddr,
    place: PathBuf,
    child: Child,
}

impl HubProcess {
    /// Its data lies below the folder, in `data`.
    pub async fn start(place: &Path, environment: &[(&'static str, OsString)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "hub_part", "--nocapture"])
            .env(PLACE, place)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let line = patient(lines.next_line()).await.unwrap();
            let line = line.expect("the hub ended before it listened");
            if let Some(address) = line.strip_prefix(MARK) {
                // What else it prints is nobody's business, and must not make it wait.
                tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
                return Self {
                    address: address.parse().unwrap(),
                    place: place.to_owned(),
                    child,
                };
            }
        }
    }

    pub async fn collector(&self) -> Client {
        Client::connect(self.address, Role::Collector).await
    }

    pub async fn console(&self) -> Client {
        Client::connect(self.address, Role::Console).await
    }

    pub async fn get(&self, path: &str) -> String {
        super::get(self.address, path, "").await
    }

    pub async fn counter(&self, name: &str) -> u64 {
        super::counter(self.address, name).await
    }

    pub fn logged(&self) -> String {
        std::fs::read_to_string(self.place.join("log")).unwrap()
    }

    /// Memory that is resident now.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.unwrap().trim().trim_end_matches(" kB");
        digits.parse::<u64>().unwrap() << 10
    }

    pub async fn kill(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// As one ends a hub, with everything that it does then.
    pub async fn stop(mut self) -> ExitStatus {
        drop(self.child.stdin.take());
        patient(self.child.wait()).await.unwrap()
    }
}
