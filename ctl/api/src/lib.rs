//! The contract between `weftd` and whoever drives it: the words of a configuration, one struct per verb, replies, the
//! codec and a blocking client. Neither side's property: it knows nothing of the packet path.
//!
//! [`spec`] has the nouns as users type them; each noun's verbs and replies are in a file of its own ([`port`],
//! [`flow`], …); [`call`] lists every verb once; [`codec`] puts them on the wire; [`client`] asks.
//!
//! **To add a verb:** a struct (its doc comment is the help text) and a reply in the noun's file, and one line in
//! `calls!`, with the [`Role`] that it takes; the compiler then asks for the daemon's method and the tool's rendering.
//!
//! **Invariants:** no bytes make the codec panic; a request says its version; a reply is either what was asked for or an
//! [`Error`] with a code, a sentence, and where there is one, a remedy.
#![forbid(unsafe_code)]

pub mod audit;
pub mod call;
pub mod capture;
pub mod client;
pub mod codec;
pub mod config;
pub mod drops;
pub mod endpoint;
mod error;
pub mod fabric;
pub mod fdb;
pub mod filter;
pub mod flow;
pub mod history;
pub mod name;
pub mod network;
pub mod packet;
pub mod plan;
pub mod pmd;
pub mod port;
mod role;
pub mod spec;
pub mod stats;
pub mod status;
pub mod trace;

pub use call::{Call, Deferred, Later, Server, role_of, serve};
pub use error::{Code, Error};
pub use role::Role;

use serde::{Deserialize, Serialize};

/// What a verb that changes something answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence.
    pub summary: String,
    /// The configuration's generation since.
    pub generation: u64,
    /// What did not work as it should have; the change is in force all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}
