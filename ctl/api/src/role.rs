//! Who may do what.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What somebody may do over the control socket. Each may what the one before may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look.
    View,
    /// Change ports, networks, endpoints, peers and flow rules.
    Operate,
    /// Change the configuration as a whole, and have weftd open files.
    Admin,
}

impl Role {
    /// Its word, a key of `[roles]`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
