//! The log: text or JSON on the standard error, and nothing that repeats itself more than a few times a minute.
//!
//! A message is known by where it is in the code: after [`BURST`] of the same in [`WINDOW`] the rest are counted, and
//! [`tell_left_out`] tells how many there were. Below a warning all is written: what verbs did, ports that come and go.

use std::{
    collections::HashMap,
    fmt,
    io::IsTerminal,
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, Filter, SubscriberExt},
    util::SubscriberInitExt,
};
use weft_ctl_api::spec::LogFormat;

/// Messages of one kind that are written in a window.
const BURST: u32 = 10;
/// How long a window is.
const WINDOW: Duration = Duration::from_secs(60);

/// Starts it.
pub fn start(level: &str, format: LogFormat) {
    let level = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    // Escape codes are for terminals, not for the journal.
    let is_colourful = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let lines = match format {
        LogFormat::Text => lines.with_ansi(is_colourful).boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(level).with(lines.with_filter(Limited)).init();
}

/// What has been written of each kind of message.
static WRITTEN: LazyLock<RateLimit> = LazyLock::new(RateLimit::default);

/// Says how many messages were left out in windows that are over. From time to time, by the control thread.
pub fn tell_left_out() {
    for (count, like) in WRITTEN.left_out(Instant::now()) {
        tracing::warn!(count, like, "messages were left out");
    }
}

/// What has been written of each kind, by where it is in the code.
#[derive(Debug, Default)]
struct RateLimit(Mutex<HashMap<Identifier, Kind>>);

/// One kind's window.
#[derive(Debug)]
struct Kind {
    began: Instant,
    written: u32,
    left_out: u64,
    /// One that was left out.
    like: String,
}

impl RateLimit {
    /// Whether one more is to be written; `text` is called for the first that is not.
    fn allows(&self, kind: Identifier, now: Instant, text: impl FnOnce() -> String) -> bool {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = || Kind { began: now, written: 0, left_out: 0, like: String::new() };
        let kind = kinds.entry(kind).or_insert_with(fresh);
        if now.duration_since(kind.began) >= WINDOW {
            (kind.began, kind.written) = (now, 0);
        }
        if kind.written < BURST {
            kind.written += 1;
            return true;
        }
        if kind.left_out == 0 {
            kind.like = text();
        }
        kind.left_out += 1;
        false
    }

    /// How many were left out, and one of them, of each kind whose window is over.
    fn left_out(&self, now: Instant) -> Vec<(u64, String)> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = kinds.values_mut().filter(|kind| {
            kind.left_out > 0 && (kind.written < BURST || now.duration_since(kind.began) >= WINDOW)
        });
        over.map(|kind| (std::mem::take(&mut kind.left_out), std::mem::take(&mut kind.like))).collect()
    }
}

/// Asks [`WRITTEN`].
struct Limited;

impl<S: Subscriber> Filter<S> for Limited {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        *metadata.level() > Level::WARN
            || WRITTEN.allows(metadata.callsite(), Instant::now(), || Message::of(event))
    }
}

/// An event's message.
#[derive(Default)]
struct Message(String);

impl Message {
    fn of(event: &Event<'_>) -> String {
        let mut message = Self::default();
        event.record(&mut message);
        message.0
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io, sync::Arc};

    use super::*;

    /// Where lines go.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic before").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_that_repeats_itself_is_written_a_few_times_and_counted() {
        let lines = Lines::default();
        let to = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || to.clone()).with_ansi(false);
        let log = tracing_subscriber::registry().with(layer.with_filter(Limited));
        tracing::subscriber::with_default(log, || {
            for number in 0..BURST + 5 {
                tracing::warn!(number, "the uplink is gone");
                tracing::info!(number, "a port came");
            }
            tracing::warn!("something else");
        });
        let text = String::from_utf8(lines.0.lock().expect("no panic before").clone()).expect("text");
        let count = |what: &str| text.matches(what).count();
        assert_eq!(count("the uplink is gone"), BURST as usize, "{text}");
        assert_eq!((count("a port came"), count("something else")), (BURST as usize + 5, 1));
        let now = Instant::now();
        assert_eq!(WRITTEN.left_out(now), [], "the window is not over");
        assert_eq!(WRITTEN.left_out(now + WINDOW), [(5, "the uplink is gone".to_owned())]);
        assert_eq!(WRITTEN.left_out(now + WINDOW), [], "told once");
    }
}
