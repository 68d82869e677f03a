//! Poll-mode drivers: the memory frames live in, and the ports they come from and go to.
//!
//! # Who owns a frame
//! A [`Frame`] is a move-only token for one chunk of the process-wide [`Memory`]. Whoever holds the token may read
//! and write the chunk; handing it to a ring, a socket or another thread moves the token. At any moment a chunk is in
//! exactly one of these places:
//!
//! ```text
//!             alloc                       rx                        tx
//!   FramePool ─────► Frame ◄──────── PortQueue::rx     Frame ─────► PortQueue::tx ──┐
//!       ▲              │                 ▲                                          │ completion
//!       │     free     │                 │ fill                                     │
//!       └──────────────┴─────────────────┴──── FramePool ◄──────────────────────────┘
//! ```
//! Each PMD thread has a [`FramePool`] of its own; pools exchange chunks with each other through the memory's depot.
//! Debug builds panic when a token is dropped instead of freed; release builds have no drop glue for it.
//!
//! # What is here
//! [`memory`] (region, chunk classes) · [`frame`] (token, pool) · [`burst`] · [`offload`] (checksum and segmentation
//! intent, and what to do where a port lacks them) · [`port`] (the kinds) · [`netns`] · [`files`] ·
//! [`Pages`] (large tables) · [`simd`] · [`sys`] (one syscall each).
//!
//! What this crate deliberately is not: it does not know what a flow, a network or an endpoint is.
//!
//! **Invariants:** no other crate has unsafe code; every unsafe block says why it is sound; a packet is always one
//! contiguous slice, whatever it was on the port it came from.
//!
//! Start reading at [`frame`], then [`port`].

pub mod burst;
mod depot;
pub mod files;
pub mod frame;
pub mod memory;
pub mod netns;
pub mod offload;
mod pages;
pub mod port;
mod ring;
pub mod simd;
pub mod sys;

pub use burst::{BURST, Burst};
pub use frame::{ChunkClass, Frame, FramePool};
pub use memory::{FillShare, HEADROOM, Memory, MemoryError, PoolSize};
pub use netns::Netns;
pub use offload::{Csum, Gso, GsoKind, Offload, Outer};
pub use pages::Pages;
pub use port::{Caps, PortError, PortInfo, PortQueue, Queue, Sent};
