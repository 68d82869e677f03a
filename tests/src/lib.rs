//! What the tests share: [`sim`], the whole path on a test's clock with in-memory ports; [`packets`] and [`messages`], packets
//! made and described; [`exposition`], metrics read strictly; [`netns`], [`daemon`], [`node`], [`cluster`], [`probe`] and
//! [`wire`], the real thing in network namespaces.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod daemon;
pub mod exposition;
pub mod messages;
pub mod netns;
pub mod node;
pub mod packets;
pub mod probe;
pub mod sim;
pub mod wire;
