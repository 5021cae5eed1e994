//! `heaptide hub`, and the hub that `run` and `attach` start when they are given none.

use crate::args::{HubCommand, HubOptions, LogFormat, LogLevel};
use crate::settings::{Told, check};
use crate::{assets, hub_data, log, sentences, token};
use anyhow::Context as _;
use heaptide_collector::linux::confine::{self, Confinement};
use heaptide_hub::{Asset, Assets, Hub, HubConfig};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

pub(crate) fn run(options: &HubOptions) -> anyhow::Result<ExitCode> {
    match &options.command {
        None => serve(options),
        Some(HubCommand::Token(command)) => token::run(command),
        Some(HubCommand::Check(options)) => hub_data::check(options),
        Some(HubCommand::Backup(options)) => hub_data::backup(options),
    }
}

fn serve(options: &HubOptions) -> anyhow::Result<ExitCode> {
    let told = Told::resolve(&options.settings, options.config.as_deref(), std::env::vars_os())?;
    if options.check_config {
        return check::run(&told, options.config.as_deref(), options.json);
    }
    let values = &told.values;
    // Gone with everything in it when the hub has ended.
    let passing = if values.open.is_empty() {
        None
    } else {
        let folder = tempfile::Builder::new().prefix("heaptide-").tempdir();
        Some(folder.context("can't make a temporary folder for what the files hold")?)
    };
    let data = match &passing {
        Some(folder) => folder.path().to_owned(),
        None => data_dir(values.data.clone())?,
    };
    let mut config = told.hub_config(data);
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    config.assets = console();
    config.log = log::of(
        values.log_format.unwrap_or_default(),
        values.log_level.unwrap_or_default(),
    );
    let log = config.log.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let hub = Hub::bind(config).await?;
        // The one line on standard output: where the console is.
        sentences::data(&format!("{scheme}://{}/", hub.address()));
        if assets::console().is_empty() {
            log.warning(assets::NO_CONSOLE);
        }
        hub.run(interrupted()?).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// A hub on a thread of its own, for as long as this lives.
pub(crate) struct OwnHub {
    pub(crate) address: SocketAddr,
    /// Lets the collector beside it in, also where people need a token.
    pub(crate) token: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OwnHub {
    /// Its threads have no rights: those of the process are for watching.
    pub(crate) fn start(listen: SocketAddr, data: PathBuf, confinement: Confinement) -> anyhow::Result<Self> {
        let mut config = HubConfig::new(listen, data);
        config.assets = console();
        config.log = log::of(LogFormat::Text, LogLevel::Warning);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || give_up_rights(confinement))
            .enable_all()
            .build()?;
        let hub = runtime
            .block_on(Hub::bind(config))
            .context("can't start a hub here (`--hub ws://HOST:PORT` uses one that runs already)")?;
        let address = hub.address();
        let token = hub.lend_collector_token()?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("hub".to_owned())
            .spawn(move || {
                give_up_rights(confinement);
                runtime.block_on(hub.run(async {
                    let _ = stopped.await;
                }));
            })?;
        Ok(Self {
            address,
            token,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// Of a thread of the hub's. The watch looks whether it has worked before it begins.
fn give_up_rights(confinement: Confinement) {
    if let Err(error) = confine::keep(confinement.of_hub()) {
        sentences::warning(&format!("can't give up rights that a hub doesn't need: {error}"));
    }
}

impl Drop for OwnHub {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `$XDG_STATE_HOME/heaptide/NAME`, by default below `~/.local/state`.
pub(crate) fn state_dir(name: &str) -> anyhow::Result<PathBuf> {
    let base = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
        .context("neither XDG_STATE_HOME nor HOME is set: name a folder with --data or --spool")?;
    Ok(base.join("heaptide").join(name))
}

pub(crate) fn data_dir(chosen: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    chosen.map_or_else(|| state_dir("hub"), Ok)
}

fn console() -> Assets {
    Assets::new(assets::console().iter().map(|file| {
        let asset = Asset {
            brotli: file.brotli.into(),
            content_type: file.content_type.to_owned(),
            etag: file.etag.to_owned(),
            immutable: file.immutable,
        };
        (file.path.to_owned(), asset)
    }))
}

fn interrupted() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
