//! Who changed what.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Show the audit log: every change that was asked for, by whom, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct Audit {
    /// So many entries at most, the newest.
    #[serde(default = "twenty")]
    #[cfg_attr(feature = "clap", arg(short = 'n', long, default_value_t = twenty()))]
    pub limit: usize,
}

const fn twenty() -> usize {
    20
}

/// Somebody on the other side of the control socket, or weftd itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Who {
    /// The user's name, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's number; none: weftd itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The group's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// The process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// The process's name.
    pub comm: String,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(uid) = self.uid else { return f.pad(&self.comm) };
        let user = self.user.clone().unwrap_or_else(|| format!("uid {uid}"));
        match self.pid {
            Some(pid) => f.pad(&format!("{user} ({} {pid})", self.comm)),
            None => f.pad(&format!("{user} ({})", self.comm)),
        }
    }
}

/// One change that was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, UTC (RFC 3339).
    pub at: String,
    /// Who asked.
    pub who: Who,
    /// The verb.
    pub verb: String,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// The configuration's generation afterwards.
    pub generation: u64,
    /// It was done.
    pub done: bool,
    /// What was done, or why not.
    pub outcome: String,
}

/// The audit log's end, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditReply {
    /// One entry each.
    pub entries: Vec<AuditEntry>,
}
