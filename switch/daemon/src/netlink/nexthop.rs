//! Next hops: how the kernel would reach other nodes, from its routes and its neighbour table; kept in step as they change.
//!
//! The switch resolves no neighbours of its own on the underlay: the node's stack does, and is asked to where it has not
//! (`NTF_USE`, as `ip neigh … use` does).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_route::{
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::{RouteAddress, RouteAttribute},
    },
};
use weft_pmd::{Netns, netns};
use weft_wire::Mac;

use super::route_to;

/// MACs to reach other nodes by, by the nodes' addresses. A node whose next hop is not resolved is not in it.
pub type NextHops = BTreeMap<IpAddr, Mac>;

/// Keeps looking; stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    stop: Arc<AtomicBool>,
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Messages come in bunches: look once for all that come within this time.
const SETTLE: Duration = Duration::from_millis(20);
/// Look at least so often: what is unresolved is asked for again, what is stale is confirmed.
const REFRESH: Duration = Duration::from_secs(2);

/// Watches the next hops of `targets` over the interface, in its namespace; calls `changed` with all of them whenever one
/// has changed, and once at the beginning.
pub fn watch(
    netns: Option<Netns>,
    ifindex: u32,
    targets: Vec<IpAddr>,
    changed: impl Fn(NextHops) + Send + 'static,
) -> std::io::Result<Watcher> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    thread::Builder::new().name("nexthops".into()).spawn(move || {
        let place = netns.clone();
        let outcome = netns::run_in(place.as_ref(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(follow(ifindex, &targets, &changed, &stopped))
        });
        if let Err(error) | Ok(Err(error)) = outcome {
            tracing::error!(%error, "next hops can't be watched: other nodes stay as they are");
        }
    })?;
    Ok(Watcher { stop })
}

async fn follow(
    ifindex: u32,
    targets: &[IpAddr],
    changed: &impl Fn(NextHops),
    stop: &AtomicBool,
) -> std::io::Result<()> {
    let groups =
        [MulticastGroup::Neigh, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    let mut known: Option<NextHops> = None;
    while !stop.load(Ordering::Acquire) {
        let now = look(&handle, ifindex, targets).await;
        if known.as_ref() != Some(&now) {
            changed(now.clone());
            known = Some(now);
        }
        // Whatever has changed, or nothing for a while (lost messages included): look again.
        if let Ok(Some(_)) = tokio::time::timeout(REFRESH, messages.next()).await {
            tokio::time::sleep(SETTLE).await;
            while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, messages.next()).await {}
        }
    }
    Ok(())
}

async fn look(handle: &Handle, ifindex: u32, targets: &[IpAddr]) -> NextHops {
    let neighbours = neighbours(handle, ifindex).await;
    let mut hops = NextHops::new();
    for &target in targets {
        let Some(next) = next_hop(handle, ifindex, target).await else { continue };
        match neighbours.get(&next) {
            Some((Some(mac), is_fresh)) => {
                hops.insert(target, *mac);
                if !is_fresh {
                    ask(handle, ifindex, next).await;
                }
            }
            _ => ask(handle, ifindex, next).await,
        }
    }
    hops
}

/// The gateway on the way to an address, or the address itself; none where another interface leads there.
async fn next_hop(handle: &Handle, ifindex: u32, target: IpAddr) -> Option<IpAddr> {
    let route = route_to(handle, target).await?;
    let (mut gateway, mut out) = (target, None);
    for attribute in route.attributes {
        match attribute {
            RouteAttribute::Gateway(RouteAddress::Inet(v4)) => gateway = v4.into(),
            RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => gateway = v6.into(),
            RouteAttribute::Oif(index) => out = Some(index),
            _ => {}
        }
    }
    (out == Some(ifindex)).then_some(gateway)
}

/// The neighbour table of an interface: each MAC, if known, and whether it was confirmed lately.
async fn neighbours(handle: &Handle, ifindex: u32) -> BTreeMap<IpAddr, (Option<Mac>, bool)> {
    let mut table = BTreeMap::new();
    let mut entries = handle.neighbours().get().execute();
    while let Ok(Some(entry)) = entries.try_next().await {
        if entry.header.ifindex != ifindex {
            continue;
        }
        let (mut address, mut mac) = (None, None);
        for attribute in entry.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::from(v4))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::from(v6))
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(bytes).ok().map(Mac),
                _ => {}
            }
        }
        let (is_usable, is_fresh) = match entry.header.state {
            NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp => (true, true),
            NeighbourState::Stale => (true, false),
            NeighbourState::Delay | NeighbourState::Probe => (true, true), // being confirmed
            _ => (false, false),
        };
        if let Some(address) = address {
            table.insert(address, (mac.filter(|_| is_usable), is_fresh));
        }
    }
    table
}

/// Makes the kernel resolve a neighbour (rtnetlink, NTF_USE: "use" the entry as if a packet were sent).
async fn ask(handle: &Handle, ifindex: u32, address: IpAddr) {
    let request =
        handle.neighbours().add(ifindex, address).state(NeighbourState::None).flags(NeighbourFlags::Use);
    // It is asked again at the next look.
    let _ = request.replace().execute().await;
}
