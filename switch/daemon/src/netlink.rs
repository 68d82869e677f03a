//! The kernel's side of things, by rtnetlink: placing taps, and next hops from routes and neighbours.

pub mod devices;
pub mod nexthop;
pub mod rss;
pub mod tap;

use std::{io, net::IpAddr};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{Handle, RouteMessageBuilder, packet_route::route::RouteMessage};
use weft_pmd::{Netns, netns};

/// What the kernel would not do.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// A namespace that can't be entered, or no netlink socket.
    #[error("{place}: {source}")]
    Io {
        /// Where.
        place: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A refused request.
    #[error("{step} on {device} failed: {source}; {remedy}")]
    Refused {
        /// What was asked.
        step: &'static str,
        /// On which device.
        device: String,
        /// The kernel's answer.
        source: Box<rtnetlink::Error>,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Somebody else's route.
    #[error(
        "{prefix} is routed already, and not over {device}; take another prefix, remove the route (ip route del {prefix}), \
         or set no_default_route if it is a pod's default route"
    )]
    Routed {
        /// Where it leads.
        prefix: IpNet,
        /// The tap.
        device: String,
    },
    /// The node's traffic to pods can't have this source.
    #[error("node.addresses: {0} is no address of this node; put it on one of its devices, or leave it out")]
    NoAddress(IpAddr),
    /// No such device.
    #[error("device {0} does not exist")]
    NoDevice(String),
    /// Somebody else's device.
    #[error("{place} has a device {device} of this name already: remove it, or choose another")]
    Taken {
        /// Where.
        place: String,
        /// Its name.
        device: String,
    },
    /// A namespace without IPv6, or a device of it.
    #[error(
        "IPv6 is not configured: it is switched off for {0} (net.ipv6.conf.*.disable_ipv6, or an MTU below 1280); IPv4 works"
    )]
    NoIpv6(String),
}

/// A namespace in words.
pub(crate) fn place_of(netns: Option<&Netns>) -> String {
    netns.map_or("this namespace".to_owned(), |netns| netns.path().display().to_string())
}

/// Runs netlink work in a namespace, on a thread and a runtime of its own.
pub(crate) fn with_handle<T, F>(
    netns: Option<&Netns>,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<T, NetlinkError>
where
    T: Send,
    F: Future<Output = Result<T, NetlinkError>>,
{
    let place = place_of(netns);
    let failed = |source| NetlinkError::Io { place: place.clone(), source };
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        runtime.block_on(async {
            let (connection, handle, _) = rtnetlink::new_connection().map_err(failed)?;
            tokio::spawn(connection);
            work(handle).await
        })
    };
    // A runtime does not nest: leave the caller's thread, whatever namespace it is in.
    let outcome = match netns {
        Some(_) => netns::run_in(netns, run),
        None => std::thread::scope(|scope| {
            scope.spawn(run).join().map(Ok).unwrap_or_else(|_| Err(io::Error::other("netlink work panicked")))
        }),
    };
    outcome.map_err(failed)?
}

/// The index of a device.
pub(crate) async fn index_of(handle: &Handle, device: &str) -> Result<u32, NetlinkError> {
    let found = handle.link().get().match_name(device.to_owned()).execute().try_next().await;
    match found {
        Ok(Some(link)) => Ok(link.header.index),
        _ => Err(NetlinkError::NoDevice(device.to_owned())),
    }
}

/// The kernel's route to an address.
pub(crate) async fn route_to(handle: &Handle, address: IpAddr) -> Option<RouteMessage> {
    let len = if address.is_ipv4() { 32 } else { 128 };
    let mut request = RouteMessageBuilder::<IpAddr>::new().destination_prefix(address, len).ok()?.build();
    // A question takes none of the attributes that a new route would have.
    request.header.table = 0;
    request.header.protocol = Default::default();
    request.header.scope = Default::default();
    request.header.kind = Default::default();
    handle.route().get(request).execute().try_next().await.ok().flatten()
}
