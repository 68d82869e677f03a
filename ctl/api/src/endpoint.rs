//! Endpoints: pods.

use serde::{Deserialize, Serialize};

use crate::spec::EndpointSpec;

/// Add an endpoint: a pod's addresses behind a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct EndpointAdd {
    /// The endpoint.
    #[cfg_attr(feature = "clap", command(flatten))]
    pub endpoint: EndpointSpec,
}

/// Remove an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct EndpointDel {
    /// The endpoint's name.
    pub name: String,
}

/// List endpoints.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "clap", derive(clap::Args))]
pub struct EndpointList {
    /// Of this network only.
    #[serde(default)]
    #[cfg_attr(feature = "clap", arg(long))]
    pub network: Option<String>,
}

/// All endpoints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EndpointRows {
    /// As configured.
    pub endpoints: Vec<EndpointSpec>,
}
