//! `weftctl top`: the switch, live and in the last 15 minutes.

mod data;
mod grid;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod views;

use std::{
    io::{self, IsTerminal},
    thread,
    time::{Duration, Instant, SystemTime},
};

use clap::Args;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use weft_ctl_api::{client::ClientError, history::parse_ago, name::visible};

use crate::{
    Session, print_line,
    stay::{self, Ending},
};
use data::Data;
use state::{State, Wish};
pub(crate) use views::View;

/// Watch the switch: ports, PMD threads, endpoints, flows, drops; live, or up to 15 minutes ago.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// What to look at first (keys 1 to 5 change it).
    #[arg(long, value_enum, default_value = "ports")]
    view: View,
    /// Look at what was so long ago: 3m, 90s (keys ← and → go on from there).
    #[arg(long, value_name = "AGO", value_parser = parse_ago, allow_hyphen_values = true)]
    at: Option<u64>,
    /// Rates are means of so many seconds, and come anew as often.
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// Show only rows that contain these words.
    #[arg(long, value_name = "WORDS", default_value = "", hide_default_value = true)]
    filter: String,
    /// Print once, as plain text (with --json, as JSON), and end.
    #[arg(long)]
    once: bool,
}

/// How often the keyboard is looked at while nothing is typed.
const KEYS_EVERY: Duration = Duration::from_millis(100);
/// A turn ends within this time, unless weftd, or the terminal, holds it up.
const TURN: Duration = Duration::from_millis(300);

/// Runs until told to end.
pub(crate) fn run(session: &mut Session, top: &Top) -> Result<(), ClientError> {
    if top.once || session.json {
        return once(session, top);
    }
    if !io::stdout().is_terminal() {
        return Err(ClientError::Own("the output is no terminal; use --once for plain text".into()));
    }
    let mut data = Data::default();
    // Before the screen is cleared: whoever may not ask reads why in the ordinary way.
    data.read(session, 0, top.interval, false)?;
    let mut state = State::new(top.view, top.filter.clone());
    state.stopped_ms = top.at.map(|ago| data.now_ms.saturating_sub(ago * 1000));
    stay::begin(
        session,
        Ending { from_input: true, ask: Box::new(|_| TURN), at_last: restore, ..Ending::default() },
    )?;
    // Puts the terminal back on a panic, too.
    let mut terminal = ratatui::try_init()?;
    let outcome = watch(&mut terminal, session, top, &mut state, &mut data);
    restore();
    outcome
}

/// Puts the terminal back; one that is gone needs it no more.
fn restore() {
    let _ = ratatui::try_restore();
}

fn watch(
    terminal: &mut DefaultTerminal,
    session: &mut Session,
    top: &Top,
    state: &mut State,
    data: &mut Data,
) -> Result<(), ClientError> {
    let every = Duration::from_secs(top.interval);
    let mut read_at: Option<Instant> = None;
    let mut problem: Option<String> = None;
    while stay::has_ended().is_none() {
        // The past does not change: it is read again only when another moment is asked for.
        if read_at.is_none_or(|at| state.stopped_ms.is_none() && at.elapsed() >= every) {
            problem = match read(session, top, state, data) {
                Err(error @ (ClientError::Broken(_) | ClientError::NotRunning { .. })) => return Err(error),
                outcome => outcome.err().map(|error| visible(&error.to_string()).into_owned()),
            };
            read_at = Some(Instant::now());
        }
        terminal.draw(|frame| screen::draw(frame, state, data, problem.as_deref()))?;
        let wait = read_at.map_or(KEYS_EVERY, |at| every.saturating_sub(at.elapsed()).min(KEYS_EVERY));
        if !event::poll(wait)? {
            continue;
        }
        let Event::Key(key) = event::read()? else { continue }; // a new size is drawn in the next turn
        if key.kind == KeyEventKind::Release {
            continue;
        }
        match state.key(key, data.now_ms, data.reaches_s) {
            Wish::Quit => return Ok(()),
            Wish::Read => read_at = None,
            Wish::Nothing => {}
        }
    }
    Ok(())
}

/// Reads what is to be shown.
fn read(session: &mut Session, top: &Top, state: &State, data: &mut Data) -> Result<(), ClientError> {
    data.read(session, state.ago_s(wall_ms()), top.interval, state.view == View::Flows)
}

fn once(session: &mut Session, top: &Top) -> Result<(), ClientError> {
    let mut data = Data::default();
    let flows = top.view == View::Flows;
    data.read(session, top.at.unwrap_or(0), top.interval, flows)?;
    if flows || data.moment.lasted_ms == 0 && top.at.is_none() {
        // Rates need two looks; and a weftd that has just started has nothing to tell of yet.
        thread::sleep(Duration::from_secs(top.interval) + Duration::from_millis(100));
        data.read(session, top.at.unwrap_or(0), top.interval, flows)?;
    }
    if session.json {
        let whole = serde_json::json!({ "moment": data.moment, "flows": data.flows });
        return print_line(&serde_json::to_string_pretty(&whole).map_err(io::Error::other)?);
    }
    if data.moment.lasted_ms == 0 {
        let message = format!(
            "weftd remembers the last {} and nothing older; use a smaller --at",
            screen::span(data.reaches_s)
        );
        return Err(ClientError::Own(message));
    }
    let state = State::new(top.view, top.filter.clone());
    let when = clock(data.moment.at_ms);
    print_line(&format!("{when}, rates of {:.1} s", data.moment.lasted_ms as f64 / 1000.0))?;
    print_line(&state.view.grid(&data).arranged(state.sort(), &state.filter).plain())
}

fn wall_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The time of day, UTC.
fn clock(at_ms: u64) -> String {
    let seconds = at_ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
