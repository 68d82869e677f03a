//! The log: text or JSON on the standard error, and nothing that repeats itself more than a few times a minute.
//!
//! A message is known by where it is in the code: after [`BURST`] of the same in [`WINDOW`] the rest are counted, and the
//! first of the next window is preceded by how many were left out. What is below a warning and what verbs did is never left out.

use std::{
    collections::HashMap,
    io::IsTerminal,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{Event, Level, Metadata, Subscriber, callsite::Identifier};
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
    tracing_subscriber::registry().with(level).with(lines.with_filter(RateLimit::default())).init();
}

/// What has been written of each kind.
#[derive(Debug, Default)]
struct RateLimit {
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

/// One kind's window.
#[derive(Debug)]
struct Kind {
    began: Instant,
    written: u32,
    left_out: u32,
}

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Written,
    /// It is the first after so many were not.
    WrittenAfter(u32),
    LeftOut,
}

impl RateLimit {
    fn fate(&self, kind: Identifier, now: Instant) -> Fate {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.entry(kind).or_insert(Kind { began: now, written: 0, left_out: 0 });
        let mut before = 0;
        if now.duration_since(kind.began) >= WINDOW {
            before = kind.left_out;
            *kind = Kind { began: now, written: 0, left_out: 0 };
        }
        if kind.written == BURST {
            kind.left_out += 1;
            return Fate::LeftOut;
        }
        kind.written += 1;
        if before > 0 { Fate::WrittenAfter(before) } else { Fate::Written }
    }
}

impl<S: Subscriber> Filter<S> for RateLimit {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let metadata = event.metadata();
        // Debugging wants all of it; so does the note below, which is written once a window and kind.
        if *metadata.level() > Level::WARN || metadata.target() == NOTE {
            return true;
        }
        let fate = self.fate(metadata.callsite(), Instant::now());
        if let Fate::WrittenAfter(left_out) = fate {
            tracing::warn!(target: NOTE, left_out, "messages like the next were left out");
        }
        fate != Fate::LeftOut
    }
}

/// Target of the rate limit's own messages.
const NOTE: &str = "weftd::log::left_out";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_repeats_itself_is_written_a_few_times_and_counted() {
        let limit = RateLimit::default();
        let kind = || {
            static CALLSITE: tracing::callsite::DefaultCallsite = {
                static META: tracing::Metadata<'static> = tracing::metadata! {
                    name: "x", target: "x", level: Level::WARN, fields: &[], callsite: &CALLSITE,
                    kind: tracing::metadata::Kind::EVENT,
                };
                tracing::callsite::DefaultCallsite::new(&META)
            };
            Identifier(&CALLSITE)
        };
        let began = Instant::now();
        let fates: Vec<Fate> = (0..BURST + 5).map(|_| limit.fate(kind(), began)).collect();
        assert!(fates[..BURST as usize].iter().all(|fate| *fate == Fate::Written), "{fates:?}");
        assert!(fates[BURST as usize..].iter().all(|fate| *fate == Fate::LeftOut), "{fates:?}");
        assert_eq!(limit.fate(kind(), began + WINDOW), Fate::WrittenAfter(5));
        assert_eq!(limit.fate(kind(), began + WINDOW), Fate::Written);
    }
}
