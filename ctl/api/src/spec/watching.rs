//! How the switch is watched from outside: its log and its metrics.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// The log. Read at start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSpec {
    /// How a line looks.
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Metrics for Prometheus. Read at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsSpec {
    /// Where they are to be had: a loopback address and port, or `unix:` and a path.
    pub listen: Listen,
}

/// Where something listens that only this node may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// TCP, on a loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const USE: &str = "use a loopback address and port, such as 127.0.0.1:9100 or [::1]:9100, or unix:/run/weft/metrics.sock";
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(format!("\"{text}\" is no absolute path; {USE}"))
            };
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| format!("\"{text}\" is neither an address and port nor a socket; {USE}"))?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "{address} can be reached from other nodes, and there is no password; {USE}"
            ));
        }
        Ok(Self::Tcp(address))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        listen.to_string()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_node_may_be_listened_to_by() {
        for text in ["127.0.0.1:9100", "127.8.9.1:1", "[::1]:9100", "unix:/run/weft/metrics.sock"] {
            let listen: Listen = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(listen.to_string(), text);
        }
        for (text, says) in [
            ("0.0.0.0:9100", "can be reached from other nodes"),
            ("[::]:9100", "can be reached from other nodes"),
            ("192.0.2.1:9100", "can be reached from other nodes"),
            ("127.0.0.1", "neither an address and port nor a socket"),
            ("localhost:9100", "neither"),
            ("unix:metrics.sock", "no absolute path"),
        ] {
            let error = text.parse::<Listen>().expect_err("refused");
            assert!(error.contains(says) && error.contains("use a loopback"), "{error}");
        }
    }
}
