//! The configuration as a whole.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::Config;

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
