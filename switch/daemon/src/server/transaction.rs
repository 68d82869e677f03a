//! The configuration as a transaction: planned, applied wholly or not at all, confirmed or taken back, kept.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use weft_ctl_api::{
    Code, Deferred, Done, Error, Role,
    audit::{Audit, AuditReply},
    config::{ConfigApply, ConfigDiff, ConfigPlan, ConfigRollback, ConfigSave, HistoryReply, HistoryRow},
    plan::{DiffReply, PlanReply},
    spec::Config,
};

use super::Session;
use crate::{
    config,
    plan::{self, changes},
    state::{Entry, StateError},
    switch::Retry,
};

/// A day: whoever waits longer has forgotten.
const CONFIRM_MAX_S: u64 = 86_400;
/// If what was before can't be brought back, it is tried again so often.
const TAKE_BACK_EVERY: Duration = Duration::from_secs(5);

/// An applied configuration that waits to be confirmed.
pub(super) struct Pending {
    /// What comes back if it is not.
    before: Config,
    /// When.
    until: Instant,
    what: String,
}

impl From<StateError> for Error {
    fn from(error: StateError) -> Self {
        let remedy = match &error {
            StateError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "make room there; nothing was changed"
            }
            _ => "name a directory in node.state that is weftd's own, and no other weftd uses",
        };
        Self::new(Code::Unavailable, error.to_string()).remedy(remedy)
    }
}

fn invalid(error: &config::ConfigError) -> Error {
    Error::new(Code::Invalid, error.to_string())
}

fn no_file() -> Error {
    Error::new(Code::Invalid, "weftd was started without a file").remedy("name one")
}

impl Session {
    /// Nothing else changes while somebody is trying a configuration out: it would be taken back with it.
    pub(super) fn refuse_while_pending(&self) -> Result<(), Error> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let left = pending.until.saturating_duration_since(Instant::now()).as_secs();
        let message = format!("{} waits to be confirmed for {left} s more", pending.what);
        Err(Error::new(Code::Pending, message)
            .remedy("keep it (weftctl config confirm) or take it back (weftctl config cancel) first"))
    }

    /// Seconds left to confirm.
    pub(super) fn confirm_within_s(&self) -> Option<u64> {
        self.pending.as_ref().map(|pending| pending.until.saturating_duration_since(Instant::now()).as_secs())
    }

    /// The text of the file that weftd was started with; one that can't be read stands for itself when it can.
    fn file_text(&self) -> String {
        self.switch.path.as_deref().and_then(|path| config::read(path).ok()).unwrap_or_default()
    }

    /// Goes over to a configuration for good, or until it is not confirmed in time. Whatever fails, and whatever moment weftd
    /// dies at, either the configuration before is in force, running and kept, or this one.
    fn go_over(
        &mut self,
        config: Config,
        what: String,
        confirm_within_s: Option<u64>,
    ) -> Result<Done, Error> {
        self.refuse_while_pending()?;
        match confirm_within_s {
            Some(seconds) => self.try_out(config, what, seconds),
            None => self.go_over_for_good(config, what),
        }
    }

    fn go_over_for_good(&mut self, config: Config, what: String) -> Result<Done, Error> {
        let prepared = match self.state.dir() {
            Ok(_) => Some(self.state.prepare_startup(&self.file_text(), &config)?),
            Err(_) => None,
        };
        let before = self.switch.config.clone();
        let mut warnings = self.switch.apply(config, Retry::Waiting)?;
        match prepared {
            Some(prepared) => {
                if let Err(error) = self.state.commit_startup(prepared) {
                    self.switch.apply(before, Retry::Nothing)?;
                    return Err(error.into());
                }
            }
            None => warnings
                .push("without a state directory it is not kept: weftd comes up again as it did".into()),
        }
        warnings.extend(self.came_into_force(&what));
        Ok(self.done_with(what, warnings))
    }

    fn try_out(&mut self, config: Config, what: String, seconds: u64) -> Result<Done, Error> {
        if !(1..=CONFIRM_MAX_S).contains(&seconds) {
            let message = format!("a configuration can't wait {seconds} s to be confirmed");
            return Err(Error::new(Code::Invalid, message).remedy("use 1s to 24h"));
        }
        // First what to come up with if weftd dies meanwhile: what is in force now, whatever the file says by now.
        let before = self.switch.config.clone();
        let kept = self.state.startup_bytes();
        let prepared = self.state.prepare_startup(&self.file_text(), &before)?;
        self.state.commit_startup(prepared)?;
        let mut warnings = match self.switch.apply(config, Retry::Waiting) {
            Ok(warnings) => warnings,
            Err(error) => {
                self.state.restore_startup(kept)?;
                return Err(error);
            }
        };
        let until = Instant::now() + Duration::from_secs(seconds);
        self.pending = Some(Pending { before, until, what: what.clone() });
        warnings.extend(self.came_into_force(&format!("{what}, to be confirmed")));
        let summary =
            format!("{what}; it is taken back in {seconds} s unless confirmed (weftctl config confirm)");
        Ok(self.done_with(summary, warnings))
    }

    /// Lets in whom the configuration names, and notes what has come into force; returns what went wrong with the first.
    pub(super) fn came_into_force(&mut self, what: &str) -> Option<String> {
        let (generation, config) = (self.switch.generation(), &self.switch.config);
        self.state.record(generation, &self.request.who, what, config);
        let roles = self.access.set(&self.switch.desired.roles);
        roles.err().map(|error| format!("the control socket's mode can't be set: {error}"))
    }

    /// Calls back when what has come into force is on disk, with what could not be written; at once if nothing has.
    pub fn when_kept(&mut self, say: impl FnOnce(Vec<String>) + Send + 'static) {
        self.state.when_kept(|problems| {
            let problems: Vec<_> =
                problems.into_iter().map(|problem| format!("not in the history: {problem}")).collect();
            problems.iter().for_each(|problem| tracing::warn!("{problem}"));
            say(problems);
        });
    }

    /// Keeps the history short.
    pub fn look_after_state(&mut self) {
        self.when_kept(drop); // of changes that nobody has asked for
        self.state.tidy();
    }

    pub(super) fn apply_config(&mut self, call: &ConfigApply) -> Result<Done, Error> {
        let (config, _) = config::check(&call.file).map_err(|error| invalid(&error))?;
        let changes = changes(&self.switch.config, &config).len();
        let changes = if changes == 1 { "1 change".into() } else { format!("{changes} changes") };
        let what = format!("configuration {} applied: {changes}", call.file.display());
        self.go_over(config, what, call.confirm_within_s)
    }

    /// Loads the configuration file again.
    pub(super) fn reload(&mut self) -> Result<Done, Error> {
        let path = self.switch.path.clone().ok_or_else(no_file)?;
        let (config, _) = config::check(&path).map_err(|error| invalid(&error))?;
        self.go_over(config, "configuration reloaded".into(), None)
    }

    /// SIGHUP.
    pub fn reload_by_signal(&mut self) {
        self.request.who = crate::roles::weftd_itself("SIGHUP");
        let outcome = self.reload();
        if let Err(error) = &outcome {
            tracing::error!(%error, "configuration not reloaded: nothing has changed");
        }
        self.note("config reload", serde_json::Value::Null, &outcome.map(|done| done.summary));
    }

    pub(super) fn confirm(&mut self) -> Result<Done, Error> {
        let Some(pending) = &self.pending else { return Err(nothing_pending()) };
        let what = format!("confirmed: {}", pending.what);
        let prepared = self.state.prepare_startup(&self.file_text(), &self.switch.config)?;
        self.state.commit_startup(prepared)?;
        self.pending = None;
        Ok(self.done_with(what, Vec::new()))
    }

    pub(super) fn cancel(&mut self) -> Result<Done, Error> {
        self.take_back("cancelled")
    }

    fn take_back(&mut self, why: &str) -> Result<Done, Error> {
        let Some(pending) = &mut self.pending else { return Err(nothing_pending()) };
        let what = format!("taken back ({why}): {}", pending.what);
        // What is to come up with was said before it was applied: nothing is to be written. A pod that has gone meanwhile
        // keeps nobody from going back.
        match self.switch.apply(pending.before.clone(), Retry::Start) {
            Ok(mut warnings) => {
                self.pending = None;
                warnings.extend(self.came_into_force(&what));
                Ok(self.done_with(what, warnings))
            }
            Err(error) => {
                pending.until = Instant::now() + TAKE_BACK_EVERY;
                Err(error)
            }
        }
    }

    /// Takes back what was not confirmed in time.
    pub fn look_after_pending(&mut self) {
        if self.pending.as_ref().is_none_or(|pending| Instant::now() < pending.until) {
            return;
        }
        self.request.who = crate::roles::weftd_itself("not confirmed in time");
        let outcome = self.take_back("not confirmed in time");
        if let Err(error) = &outcome {
            tracing::error!(%error, "the configuration before can't be brought back: it is tried again");
        }
        self.note("config cancel", serde_json::Value::Null, &outcome.map(|done| done.summary));
    }

    fn earlier(&self, generation: u64) -> Result<Config, Error> {
        let history = &self.state.history;
        history.config(generation).ok_or_else(|| {
            let known: Vec<String> =
                history.entries().rev().take(20).map(|entry| entry.generation.to_string()).collect();
            let message = format!("the history has no configuration of generation {generation}");
            Error::new(Code::NotFound, message).remedy(format!("there is {}", known.join(", ")))
        })
    }

    pub(super) fn roll_back(&mut self, call: &ConfigRollback) -> Result<Done, Error> {
        self.refuse_while_pending()?;
        let generation =
            match call.generation {
                Some(generation) => generation,
                None => self.state.history.entries().rev().nth(1).map(|entry| entry.generation).ok_or_else(
                    || Error::new(Code::NotFound, "there was no other configuration before this one"),
                )?,
            };
        let config = self.earlier(generation)?;
        let what = format!("rolled back to the configuration of generation {generation}");
        self.go_over(config, what, call.confirm_within_s)
    }

    pub(super) fn plan(&self, call: &ConfigPlan) -> Result<PlanReply, Error> {
        match (&call.file, call.generation) {
            (Some(file), None) => {
                let (config, _) = config::check(file).map_err(|error| invalid(&error))?;
                plan::plan(&self.switch, file.display().to_string(), &config)
            }
            (None, Some(generation)) => {
                let config = self.earlier(generation)?;
                plan::plan(&self.switch, format!("generation {generation}"), &config)
            }
            _ => Err(Error::new(Code::BadRequest, "a plan is for either a file or a generation")),
        }
    }

    pub(super) fn diff(&self, call: ConfigDiff) -> Result<Deferred<DiffReply>, Error> {
        if call.file.is_some() {
            self.must_be(Role::Admin, "config diff FILE", "weftd opens the file with its own rights")?;
        }
        let file = call.file.or_else(|| self.switch.path.clone()).ok_or_else(no_file)?;
        let ours = self.switch.config.clone();
        Ok(Deferred::new(move || {
            let (config, _) = config::check(&file).map_err(|error| invalid(&error))?;
            Ok(DiffReply { file, changes: changes(&config, &ours) })
        }))
    }

    pub(super) fn config_generations(&self, limit: usize) -> HistoryReply {
        let entries = self.state.history.entries().rev().take(limit).enumerate();
        let row = |(index, entry): (usize, &Entry)| HistoryRow {
            generation: entry.generation,
            at: entry.at.clone(),
            who: entry.who.clone(),
            what: entry.what.clone(),
            current: index == 0,
        };
        HistoryReply { entries: entries.map(row).collect() }
    }

    pub(super) fn save(&mut self, call: ConfigSave) -> Result<Done, Error> {
        self.refuse_while_pending()?;
        let no_file = || no_file().remedy("name one: weftctl config save FILE");
        let path = call.file.or_else(|| self.switch.path.clone()).ok_or_else(no_file)?;
        config::save(&self.switch.config, &path)
            .map_err(|error| Error::new(Code::Unavailable, error.to_string()))?;
        let warnings = self.saved(&path);
        Ok(self
            .done_with(format!("configuration saved to {}", path.display()), warnings.into_iter().collect()))
    }

    /// The file that weftd was started with says it all: nothing has to stand in for it.
    pub(super) fn saved(&mut self, path: &Path) -> Option<String> {
        if self.switch.path.as_deref() != Some(path) || self.state.dir().is_err() {
            return None;
        }
        self.state.restore_startup(None).err().map(|error| error.to_string())
    }

    pub(super) fn audit_log(&self, call: &Audit) -> AuditReply {
        AuditReply { entries: self.audit.recent(call.limit).cloned().collect() }
    }
}

fn nothing_pending() -> Error {
    Error::new(Code::NotFound, "no configuration waits to be confirmed")
        .remedy("it was confirmed or taken back already: see weftctl config history")
}
