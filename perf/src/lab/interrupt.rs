//! Ctrl-C and SIGTERM end a benchmark between two waits, so that its guards run.

use std::{
    io, process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use super::Error;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on the first Ctrl-C or SIGTERM makes waits fail. The third ends this process at once.
pub fn watch() -> Result<(), Error> {
    let failed = || Error::io("watching for signals");
    let runtime = runtime::Builder::new_current_thread().enable_io().build().map_err(failed())?;
    let open = || -> io::Result<(Signal, Signal)> {
        let _inside = runtime.enter();
        Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    };
    let (mut interrupt, mut terminate) = open().map_err(failed())?;
    let wait = move || {
        for _ in 0..3 {
            runtime.block_on(async {
                tokio::select! { _ = interrupt.recv() => (), _ = terminate.recv() => () }
            });
            INTERRUPTED.store(true, Ordering::Relaxed);
        }
        process::exit(130) // 128 + SIGINT, as shells have it
    };
    thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed())?;
    Ok(())
}

/// Fails if a signal came.
pub(super) fn check() -> Result<(), Error> {
    if INTERRUPTED.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
}

/// Sleeps; fails at once if a signal comes.
pub fn pause(time: Duration) -> Result<(), Error> {
    const STEP: Duration = Duration::from_millis(20);
    let end = Instant::now() + time;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(STEP));
    }
}
