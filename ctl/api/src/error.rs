//! What went wrong, for people and programs.

use serde::{Deserialize, Serialize};

/// Kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request can't be read.
    BadRequest,
    /// What it names does not exist.
    NotFound,
    /// What it would make exists already.
    Exists,
    /// It contradicts itself or the rest of the configuration.
    Invalid,
    /// Something else still needs what it would remove.
    InUse,
    /// The kernel, or a device, would not.
    Unavailable,
    /// The caller may not.
    Forbidden,
    /// An applied configuration waits to be confirmed first.
    Pending,
    /// weftd itself failed.
    Internal,
}

/// What went wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", .remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default())]
pub struct Error {
    /// Its kind.
    pub code: Code,
    /// What went wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Error {
    /// An error without remedy.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: None }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }
}
