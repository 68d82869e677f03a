//! The configuration as a whole: shown, checked, and changed as a transaction.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{audit::Who, spec::Config};

/// Show the configuration in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigShow {}

/// The configuration in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConfigText {
    /// As data.
    pub config: Config,
    /// As a file.
    pub toml: String,
}

/// Save the configuration in force to the file weftd was started with, or to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigSave {
    /// The file; the one weftd was started with, if not given.
    pub file: Option<PathBuf>,
}

/// Check a configuration file against this weftd, changing nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigCheck {
    /// The file.
    pub file: PathBuf,
}

/// Load the configuration file again, as SIGHUP does; if it is wrong, nothing changes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigReload {}

/// Show what a configuration would change and whom it would interrupt, changing nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args), group(required = true, multiple = false))]
pub struct ConfigPlan {
    /// The configuration's file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// An earlier configuration, by its generation (see `config history`), instead of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long))]
    pub generation: Option<u64>,
}

/// Go over to a configuration file, wholly or not at all; it is also what weftd comes up with from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigApply {
    /// The file.
    pub file: PathBuf,
    /// Take it back unless `config confirm` comes within this time, such as 60s or 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long = "confirm-within", value_name = "TIME", value_parser = seconds))]
    pub confirm_within_s: Option<u64>,
}

/// Keep an applied configuration that waits to be confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigConfirm {}

/// Take an applied configuration back that waits to be confirmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigCancel {}

/// Show how the configuration in force differs from the file weftd was started with, or from another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigDiff {
    /// The file; the one weftd was started with, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// List the last configurations: when, who, what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigHistory {
    /// So many at most, the newest.
    #[serde(default = "twenty")]
    #[cfg_attr(feature = "clap", arg(short = 'n', long, default_value_t = twenty()))]
    pub limit: usize,
}

const fn twenty() -> usize {
    20
}

/// Go back to an earlier configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct ConfigRollback {
    /// Its generation (see `config history`); the one before the one in force, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Take the rollback back unless `config confirm` comes within this time, such as 60s or 5m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "clap", arg(long = "confirm-within", value_name = "TIME", value_parser = seconds))]
    pub confirm_within_s: Option<u64>,
}

/// A time of whole seconds, as people write it.
#[cfg(feature = "clap")]
fn seconds(text: &str) -> Result<u64, String> {
    let wrong = |_| format!("`{text}` is no time: use such as 60s, 5m or 1h");
    text.parse().or_else(|_| humantime::parse_duration(text).map(|time| time.as_secs()).map_err(wrong))
}

/// The last configurations, newest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryReply {
    /// One row each.
    pub entries: Vec<HistoryRow>,
}

/// A configuration that was in force.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    /// The generation it came with.
    pub generation: u64,
    /// When, UTC (RFC 3339).
    pub at: String,
    /// Who brought it.
    pub who: Who,
    /// What was changed, in a sentence.
    pub what: String,
    /// It is the one in force.
    pub current: bool,
}
