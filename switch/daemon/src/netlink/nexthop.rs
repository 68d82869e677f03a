//! Next hops: how the kernel would reach other nodes, from its routes and its neighbour table; kept in step as they change.
//!
//! The switch resolves no neighbours of its own on the underlay: the node's stack does, and is asked to where it has not
//! (`NTF_USE`, as `ip neigh … use` does).

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    thread,
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::{
    Handle, MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourState},
        route::{RouteAddress, RouteAttribute},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use weft_pmd::{Netns, netns};
use weft_wire::Mac;

use super::route_to;

/// How the kernel reaches other nodes, by their addresses. A node that is in neither is being asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NextHops {
    /// MACs to reach them by.
    pub macs: BTreeMap<IpAddr, Mac>,
    /// Those that can't be reached: no route leads there over the interface, or nobody has answered for the next hop.
    pub failed: BTreeSet<IpAddr>,
}

/// Keeps looking; stops when dropped.
#[derive(Debug)]
pub struct Watcher {
    targets: watch::Sender<BTreeSet<IpAddr>>,
}

impl Watcher {
    /// Goes over to other nodes; only those that are new are looked up. False: it has stopped looking.
    #[must_use]
    pub fn set_targets(&self, targets: BTreeSet<IpAddr>) -> bool {
        self.targets.send(targets).is_ok()
    }
}

/// Messages come in bunches: look once for all that come within this time.
const SETTLE: Duration = Duration::from_millis(20);
/// Look at least so often: what is unresolved is asked for again, what is stale is confirmed, and messages may be lost.
const REFRESH: Duration = Duration::from_secs(2);

/// Watches the next hops of `targets` over the interface, in its namespace; calls `changed` with all of them whenever one
/// has changed, and once at the beginning.
pub fn watch(
    netns: Option<Netns>,
    ifindex: u32,
    targets: BTreeSet<IpAddr>,
    changed: impl Fn(NextHops) + Send + 'static,
) -> std::io::Result<Watcher> {
    let (sender, targets) = watch::channel(targets);
    thread::Builder::new().name("nexthops".into()).spawn(move || {
        let place = netns.clone();
        let outcome = netns::run_in(place.as_ref(), move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(follow(ifindex, targets, &changed))
        });
        if let Err(error) | Ok(Err(error)) = outcome {
            tracing::error!(%error, "next hops can't be watched: other nodes stay as they are");
        }
    })?;
    Ok(Watcher { targets: sender })
}

async fn follow(
    ifindex: u32,
    mut targets: watch::Receiver<BTreeSet<IpAddr>>,
    changed: &impl Fn(NextHops),
) -> std::io::Result<()> {
    let groups =
        [MulticastGroup::Neigh, MulticastGroup::Ipv4Route, MulticastGroup::Ipv6Route, MulticastGroup::Link];
    let (connection, handle, mut messages) = rtnetlink::new_multicast_connection(&groups)?;
    tokio::spawn(connection);
    let (mut seen, mut known, mut silent) = (Seen::default(), None, BTreeSet::new());
    let mut refresh = Instant::now() + REFRESH;
    loop {
        let wanted = targets.borrow_and_update().clone();
        let now = seen.look(&handle, ifindex, &wanted, &mut silent).await;
        if known.as_ref() != Some(&now) {
            changed(now.clone());
            known = Some(now);
        }
        tokio::select! {
            outcome = targets.changed() => if outcome.is_err() {
                return Ok(());
            },
            Some((message, _)) = messages.next() => {
                seen.forget(&message);
                sleep(SETTLE).await;
                while let Ok(Some((message, _))) = tokio::time::timeout(Duration::ZERO, messages.next()).await {
                    seen.forget(&message);
                }
            }
            () = sleep_until(refresh) => {
                seen = Seen::default();
                refresh = Instant::now() + REFRESH;
            }
        }
    }
}

/// What the kernel knows of a neighbour.
#[derive(Debug, Clone, Copy, Default)]
struct Neighbour {
    mac: Option<Mac>,
    /// Confirmed lately, or being confirmed.
    is_fresh: bool,
    /// It was asked for, and did not answer.
    is_silent: bool,
}

type Neighbours = BTreeMap<IpAddr, Neighbour>;

/// What the kernel has said, as long as nothing says otherwise.
#[derive(Debug, Default)]
struct Seen {
    /// The gateway on the way to each node, or its own address; none where another interface leads there.
    routes: BTreeMap<IpAddr, Option<IpAddr>>,
    neighbours: Option<Neighbours>,
}

impl Seen {
    /// Something has changed: what it may be about is looked up again.
    fn forget(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) {
        self.neighbours = None;
        let is_neighbour = matches!(
            message.payload,
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewNeighbour(_) | RouteNetlinkMessage::DelNeighbour(_)
            )
        );
        if !is_neighbour {
            self.routes.clear();
        }
    }

    /// Looks up what is not known, and has the kernel resolve or confirm what it does not know well. `silent`: nodes whose
    /// next hop has not answered since it was last known; it is asked for again and again.
    async fn look(
        &mut self,
        handle: &Handle,
        ifindex: u32,
        targets: &BTreeSet<IpAddr>,
        silent: &mut BTreeSet<IpAddr>,
    ) -> NextHops {
        self.routes.retain(|target, _| targets.contains(target));
        for target in targets {
            if !self.routes.contains_key(target) {
                self.routes.insert(*target, next_hop(handle, ifindex, *target).await);
            }
        }
        let neighbours = match self.neighbours.take() {
            Some(neighbours) => neighbours,
            None => neighbours(handle, ifindex).await,
        };
        let (mut hops, mut to_ask) = (NextHops::default(), BTreeSet::new());
        silent.retain(|target| targets.contains(target));
        for (target, next) in &self.routes {
            let Some(next) = next else {
                hops.failed.insert(*target);
                continue;
            };
            let Neighbour { mac, is_fresh, is_silent } = neighbours.get(next).copied().unwrap_or_default();
            match mac {
                Some(mac) => {
                    hops.macs.insert(*target, mac);
                    silent.remove(target);
                }
                None if is_silent => drop(silent.insert(*target)),
                None => {}
            }
            if mac.is_none() || !is_fresh {
                to_ask.insert(*next);
            }
        }
        self.neighbours = Some(neighbours);
        hops.failed.extend(silent.iter());
        for next in to_ask {
            ask(handle, ifindex, next).await;
        }
        hops
    }
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
async fn neighbours(handle: &Handle, ifindex: u32) -> Neighbours {
    let mut table = Neighbours::new();
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
            let is_silent = entry.header.state == NeighbourState::Failed;
            table.insert(address, Neighbour { mac: mac.filter(|_| is_usable), is_fresh, is_silent });
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
