//! `weftd`: the switch.
#![forbid(unsafe_code)]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use clap::{CommandFactory, Parser};
use crossbeam::channel;
use tokio::signal::unix::{SignalKind, signal};
use weft_ctl_api::spec::{Config, LogFormat};
use weftd::{
    config, control,
    desired::Desired,
    event::Event,
    log,
    metrics::serve::Listener,
    runtime::Runtime,
    server::{Session, socket::ControlSocket},
    state::State,
    switch::{Retry, Switch},
};

/// A user-space virtual switch for Kubernetes nodes.
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "SIGHUP reloads the configuration; SIGTERM ends weftd and removes what it made."
)]
struct Arguments {
    /// Run with this configuration.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["check", "example", "man"])]
    config: Option<PathBuf>,
    /// Only check a configuration, and say what is wrong with it.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    check: Option<PathBuf>,
    /// Print a configuration with every key, its meaning and its default.
    #[arg(long, exclusive = true)]
    example: bool,
    /// How much to log: error, warn, info, debug.
    #[arg(long, value_name = "LEVEL", default_value = "info", env = "WEFT_LOG")]
    log: String,
    /// How to log, whatever [log] in the configuration says.
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<LogFormat>,
    /// Print the manual page (roff).
    #[arg(long, hide = true)]
    man: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match (&arguments.check, &arguments.config) {
        _ if arguments.example => {
            print!("{}", include_str!("../../../configs/full.toml"));
            Ok(())
        }
        _ if arguments.man => clap_mangen::Man::new(Arguments::command())
            .section("8")
            .render(&mut std::io::stdout())
            .map_err(Into::into),
        (Some(path), _) => {
            config::check(path).map(|_| println!("{}: valid", path.display())).map_err(Into::into)
        }
        (None, Some(path)) => run(path.clone(), &arguments),
        (None, None) => Ok(()), // clap does not let it come to that
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weftd: {error}");
            ExitCode::FAILURE
        }
    }
}

type AnyError = Box<dyn std::error::Error>;

/// Listens where `[metrics]` says.
fn listen(config: &Config) -> Result<Option<Listener>, AnyError> {
    Ok(config.metrics.as_ref().map(|metrics| Listener::bind(&metrics.listen)).transpose()?)
}

fn run(path: PathBuf, arguments: &Arguments) -> Result<(), AnyError> {
    let (config, desired) = config::check(&path)?;
    log::start(&arguments.log, arguments.log_format.unwrap_or(config.log.format));
    let state = State::open(&config.node.state);
    let (config, desired, why) = come_up_with(&state, &path, config, desired)?;
    /// Requests and the like that the control thread may be behind.
    const EVENTS: usize = 1024;
    /// Batches of learnt addresses it may be behind, ten seconds of them; those beyond are lost, and seen again.
    const REPORTS: usize = 1024;
    let (events, receiver) = channel::bounded(EVENTS);
    let (reports, report_receiver) = channel::bounded(REPORTS);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The socket first: two weftds on one node would fight over ports.
    let (socket, metrics) = {
        let _guard = tokio.enter();
        (ControlSocket::bind(&config.node.control, &desired.roles)?, listen(&config)?)
    };
    let runtime = Runtime::start(&desired.pmd, control::reporter(events.clone(), reports.clone()))?;
    if !runtime.memory.hugepages() {
        tracing::info!("no free hugepages: frame memory is on ordinary pages (vm.nr_hugepages)");
    }
    let generation = state.history.newest();
    let mut switch = Switch::new(config.clone(), runtime, Some(path.clone()), events.clone(), generation)?;
    if let Err(error) = switch.apply(config, Retry::Start) {
        switch.stop();
        return Err(format!("{}: {error}", path.display()).into());
    }
    let ports = switch.ports.len();
    tracing::info!(node = switch.desired.node.name, ports, control = %switch.config.node.control.display(), "ready");
    let access = socket.access();
    let control = thread::Builder::new().name("control".into()).spawn(move || {
        control::run(Session::new(switch, state, access, &why), &receiver, &report_receiver)
    })?;
    tokio.block_on(async {
        if let Some(metrics) = metrics {
            tokio::spawn(metrics.serve(events.clone()));
        }
        serve(&socket, events).await
    })?;
    drop(tokio);
    drop(socket);
    let switch = control.join().map_err(|_| "the control thread panicked")?;
    drop(reports); // kept until here: a channel that nobody can write to any more would wake the control thread for ever
    match switch.stop() {
        0 => tracing::info!("ended"),
        lost => tracing::warn!(lost, "ended; frames were still in the kernel's hands"),
    }
    Ok(())
}

/// The configuration last confirmed, unless the file was edited since; and which of the two it is.
fn come_up_with(
    state: &State,
    path: &Path,
    config: Config,
    desired: Desired,
) -> Result<(Config, Desired, String), AnyError> {
    let started = format!("started with {}", path.display());
    let Some(confirmed) = state.startup(&config::read(path)?).filter(|confirmed| *confirmed != config) else {
        return Ok((config, desired, started));
    };
    match Desired::try_from(&confirmed) {
        Ok(desired) => {
            tracing::warn!(
                "coming up with the configuration last confirmed, not with {} as it is: weftctl config diff shows what \
                 differs, config reload goes over to the file",
                path.display()
            );
            Ok((confirmed, desired, "started with the configuration last confirmed".into()))
        }
        Err(error) => {
            tracing::error!(%error, "the configuration last confirmed does not fit any more: the file is used");
            Ok((config, desired, started))
        }
    }
}

/// Serves the socket and signals until told to end.
async fn serve(socket: &ControlSocket, events: channel::Sender<Event>) -> Result<(), AnyError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let clients = socket.serve(events.clone());
    tokio::pin!(clients);
    loop {
        tokio::select! {
            () = &mut clients => return Ok(()),
            _ = hangup.recv() => {
                let _ = events.try_send(Event::Reload); // a full queue has no room for one more reload either
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    events.send(Event::Stop)?;
    Ok(())
}
