//! Tables of the packet's path: [`flow`] is each core's own and on the hot path; [`routes`] is part of the snapshot.

pub mod flow;
pub mod routes;
