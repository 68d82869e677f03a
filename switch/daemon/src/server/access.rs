//! Who may say what, and the note that is made of it.

use serde_json::Value;
use weft_ctl_api::{
    Code, Error, Later, Role,
    audit::{AuditEntry, Who},
    role_of, serve,
};

use super::Session;
use crate::{roles::Identity, state};

/// Whose request is being served.
pub(super) struct Request {
    /// Who asks.
    pub(super) who: Who,
    /// What they may.
    pub(super) role: Role,
    /// The change is also written to the configuration file.
    pub(super) persist: bool,
}

/// What writes the configuration file.
const SAVE: &str = "config save";

fn forbidden(who: &Who, role: Option<Role>, needed: Role, what: &str) -> Error {
    let has = role.map_or("no role".to_owned(), |role| format!("the role {role}"));
    let message = format!("`{what}` takes the role {needed}: {who} has {has}");
    let remedy = format!("have the administrator name you in roles.{needed} of weftd's configuration");
    Error::new(Code::Forbidden, message).remedy(remedy)
}

impl Session {
    /// Serves a request, if whoever asks may.
    pub fn serve(&mut self, verb: &str, args: Value, persist: bool, peer: &Identity) -> Result<Later, Error> {
        // Roles may have changed since they connected.
        let role = self.switch.desired.roles.of(peer);
        let needed = role_of(verb).unwrap_or(Role::View);
        self.request = Request { who: peer.who.clone(), role: role.unwrap_or(Role::View), persist };
        let may = match role {
            Some(role) if role >= needed => Ok(()),
            _ => Err(forbidden(&peer.who, role, needed, verb)),
        };
        let only_looks =
            matches!(verb, "config plan" | "config check" | "trace next") || args["plan"] == true;
        let changes = needed > Role::View && !only_looks;
        let noted = if changes { args.clone() } else { Value::Null };
        let may = may.and_then(|()| check_persist(verb, persist)).and_then(|()| self.may_persist(persist));
        let answer = may.and_then(|()| serve(self, verb, args));
        if changes {
            // Little is said of a change, and all of it is noted.
            let answer = answer.and_then(Later::make);
            let outcome = match &answer {
                Ok(done) => Ok(done["summary"].as_str().unwrap_or_default().to_owned()),
                Err(error) => Err(error.clone()),
            };
            let is_refused = answer.as_ref().is_err_and(|error| error.code == Code::Forbidden);
            if !is_refused || self.audit.takes_refusal() {
                self.note(verb, noted, &outcome);
            }
            return answer.map(Later::written);
        }
        if let Err(error) = &answer {
            tracing::debug!(verb = shortened(verb), who = %peer.who, error = shortened(&error.to_string()), "request refused");
        }
        answer
    }

    /// Puts a change, or the attempt, into the audit log.
    pub(super) fn note(&mut self, verb: &str, args: Value, outcome: &Result<String, Error>) {
        let done = outcome.is_ok();
        self.audit.append(AuditEntry {
            at: state::now(),
            who: self.request.who.clone(),
            verb: verb.to_owned(),
            args,
            generation: self.switch.generation(),
            done,
            outcome: shortened(&outcome.as_ref().map_or_else(ToString::to_string, Clone::clone)),
        });
    }

    /// `--persist` writes all that is in force, as `config save` does: it takes what that takes.
    fn may_persist(&self, persist: bool) -> Result<(), Error> {
        let needed = role_of(SAVE).unwrap_or(Role::Admin);
        if persist {
            self.must_be(needed, "--persist", "it writes all that is in force, as `config save` does")
        } else {
            Ok(())
        }
    }

    /// Some uses of a verb take more than the verb.
    pub(super) fn must_be(&self, needed: Role, what: &str, why: &str) -> Result<(), Error> {
        if self.request.role >= needed {
            return Ok(());
        }
        let mut error = forbidden(&self.request.who, Some(self.request.role), needed, what);
        error.message = format!("{} ({why})", error.message);
        Err(error)
    }
}

/// What is quoted may be as long as a request.
fn shortened(text: &str) -> String {
    const MAX: usize = 1000;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

/// What changes the configuration as a whole is kept anyway; what changes nothing can't be.
fn check_persist(verb: &str, persist: bool) -> Result<(), Error> {
    if !persist || role_of(verb) == Some(Role::Operate) && verb != "fdb flush" && !verb.starts_with("pmd ") {
        return Ok(());
    }
    let message = format!("`{verb}` changes nothing that --persist could write");
    Err(Error::new(Code::BadRequest, message).remedy("leave --persist out"))
}
