//! Puts a tap where it belongs: its namespace, name, MAC, MTU, addresses and routes.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::AsRawFd,
};

use futures_util::TryStreamExt;
use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
        link::{InfoKind, LinkAttribute, LinkInfo},
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteScope},
    },
};
use weft_pmd::{Gso, Netns};
use weft_wire::Mac;

use super::{NetlinkError, index_of, place_of, with_handle};

/// Where a tap goes, and what it looks like there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its namespace; none: weftd's own.
    pub netns: Option<Netns>,
    /// Its name there.
    pub device: String,
    /// Its MAC.
    pub mac: Option<Mac>,
    /// Its MTU.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// Prefixes reached through it directly, with the source to use, if it matters.
    pub on_link: Vec<(IpNet, Option<IpAddr>)>,
    /// Default routes, via these.
    pub gateways: Vec<IpAddr>,
}

/// A route over the tap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Route {
    prefix: IpNet,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
}

impl Placement {
    /// Its routes, each behind those that it needs.
    fn routes(&self) -> Vec<Route> {
        let direct = |prefix, source| Route { prefix, gateway: None, source };
        let on_link = self.on_link.iter().map(|(prefix, source)| direct(*prefix, *source));
        let mut routes: Vec<Route> = on_link.collect();
        for gateway in &self.gateways {
            let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            routes.push(direct(IpNet::from(*gateway), None));
            routes.extend(everything.parse().map(|prefix| Route {
                prefix,
                gateway: Some(*gateway),
                source: None,
            }));
        }
        routes
    }
}

fn refused(
    step: &'static str,
    device: &str,
    remedy: &'static str,
) -> impl Fn(rtnetlink::Error) -> NetlinkError {
    move |source| NetlinkError::Refused { step, device: device.to_owned(), source: Box::new(source), remedy }
}

/// Moves a new tap from weftd's namespace to its own, and configures it as far as can be: returns what could not be done.
pub fn place(ifindex: u32, placement: &Placement) -> Result<Vec<NetlinkError>, NetlinkError> {
    let device = &placement.device;
    let netns = placement.netns.as_ref();
    let file = netns.map(Netns::open).transpose();
    let file = file.map_err(|source| NetlinkError::Io { place: place_of(netns), source })?;
    with_handle(None, |handle| async move {
        // What its kernel may leave to be cut: more would be refused when it comes.
        let segments = LinkAttribute::GsoMaxSegs(Gso::TCP_MOST as u32);
        let message = LinkUnspec::new_with_index(ifindex).name(device.clone());
        let message = message.append_extra_attribute(segments);
        let message = match &file {
            Some(file) => message.setns_by_fd(file.as_raw_fd()),
            None => message,
        };
        handle.link().set(message.build()).execute().await.map_err(|error| match kind_of(&error) {
            Some(io::ErrorKind::AlreadyExists) => {
                NetlinkError::Taken { place: place_of(netns), device: device.clone() }
            }
            _ => refused("placing the tap", device, "see ip-link(8)")(error),
        })
    })?;
    configure(placement, None, None)
}

/// Removes a tap that is still there though weftd has let it go. True: it was.
pub fn remove(netns: Option<&Netns>, device: &str) -> Result<bool, NetlinkError> {
    with_handle(netns, |handle| async move {
        let found = handle.link().get().match_name(device.to_owned()).execute().try_next().await;
        let Ok(Some(link)) = found else { return Ok(false) };
        let is_tap = link.attributes.iter().any(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::Kind(InfoKind::Tun)),
            _ => false,
        });
        if !is_tap {
            return Ok(false);
        }
        let deleted = handle.link().del(link.header.index).execute().await;
        deleted.map(|()| true).map_err(refused("removing the tap", device, "see ip-link(8)"))
    })
}

/// Brings a placed tap's MAC, MTU, addresses and routes to what they should be, whatever it is called by now if its index is
/// known. What `old` had and is no longer wanted goes; what others put there is left alone. One thing that can't be done keeps
/// no other from being done: returns all that could not. An error: it could not even be tried.
pub fn configure(
    placement: &Placement,
    index: Option<u32>,
    old: Option<&Placement>,
) -> Result<Vec<NetlinkError>, NetlinkError> {
    with_handle(placement.netns.as_ref(), |handle| async move {
        let index = match index {
            Some(index) => index,
            None => index_of(&handle, &placement.device).await?,
        };
        let mut short = bring_up(&handle, index, placement).await?;
        if let Some(old) = old {
            short.extend(remove_unwanted(&handle, index, old, placement).await);
        }
        short.extend(add_all(&handle, index, placement).await);
        Ok(short)
    })
}

/// Each of MTU, MAC and state by itself: what the namespace's owner has done to one keeps no other from being set.
async fn bring_up(
    handle: &Handle,
    index: u32,
    placement: &Placement,
) -> Result<Vec<NetlinkError>, NetlinkError> {
    let device = placement.device.as_str();
    let mut steps = Vec::new();
    if placement.netns.is_some()
        && let Ok(lo) = index_of(handle, "lo").await
    {
        steps.push(("bringing lo up", "lo", "see dmesg", LinkUnspec::new_with_index(lo).up()));
    }
    let link = || LinkUnspec::new_with_index(index);
    steps.push(("setting its MTU", device, "check the port's mtu", link().mtu(placement.mtu)));
    if let Some(mac) = placement.mac {
        steps.push(("setting its MAC", device, "check the port's mac", link().address(mac.0.to_vec())));
    }
    steps.push(("bringing it up", device, "see dmesg", link().up()));
    let mut short = Vec::new();
    for (step, device, remedy, message) in steps {
        match handle.link().set(message.build()).execute().await {
            Err(error) if errno_of(&error) == Some(NO_DEVICE) => {
                return Err(NetlinkError::NoDevice(device.to_owned()));
            }
            outcome => short.extend(outcome.err().map(refused(step, device, remedy))),
        }
    }
    Ok(short)
}

/// Addresses, and the routes that need them.
async fn add_all(handle: &Handle, index: u32, placement: &Placement) -> Vec<NetlinkError> {
    let device = placement.device.as_str();
    let (mut short, mut has_ipv6) = (Vec::new(), true);
    for address in &placement.addresses {
        match add_address(handle, index, *address).await {
            Err(error) if address.addr().is_ipv6() && is_without_ipv6(&error, placement) => has_ipv6 = false,
            outcome => {
                short.extend(outcome.err().map(refused("adding an address", device, "see ip-address(8)")));
            }
        }
    }
    let mut own = None;
    for route in placement.routes().iter().filter(|route| has_ipv6 || route.prefix.addr().is_ipv4()) {
        short.extend(add_route(handle, index, device, route, &mut own).await.err());
    }
    if !has_ipv6 {
        short.push(NetlinkError::NoIpv6(device.to_owned()));
    }
    short
}

/// Whether the device has no IPv6 at all: EACCES with disable_ipv6, EOPNOTSUPP without the module, EINVAL where the MTU is
/// less than every IPv6 link must carry (RFC 8200 §5).
fn is_without_ipv6(error: &rtnetlink::Error, placement: &Placement) -> bool {
    const IPV6_MTU_MIN: u32 = 1280;
    match kind_of(error) {
        Some(io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => true,
        Some(io::ErrorKind::InvalidInput) => placement.mtu < IPV6_MTU_MIN,
        _ => false,
    }
}

/// ENODEV.
const NO_DEVICE: i32 = 19;

fn errno_of(error: &rtnetlink::Error) -> Option<i32> {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().raw_os_error(),
        _ => None,
    }
}

/// Routes go first: without their source address, some go by themselves and some stay. Returns what could not be removed.
async fn remove_unwanted(handle: &Handle, index: u32, old: &Placement, new: &Placement) -> Vec<NetlinkError> {
    let (device, wanted, mut short) = (new.device.as_str(), new.routes(), Vec::new());
    let mut unwanted = old.routes();
    unwanted.retain(|old| !wanted.iter().any(|new| (new.prefix, new.gateway) == (old.prefix, old.gateway)));
    let own = if unwanted.is_empty() { BTreeSet::new() } else { own_routes(index).await };
    let failed = refused("removing a route", device, "see ip-route(8)");
    // Whoever needs another goes before it.
    for route in unwanted.iter().rev().filter(|route| own.contains(&route.prefix)) {
        let outcome = match route_message(index, route) {
            Ok(message) => handle.route().del(message).execute().await,
            Err(error) => Err(error),
        };
        short.extend(outcome.err().map(&failed));
    }
    for address in old.addresses.iter().filter(|address| !new.addresses.contains(address)) {
        let message = handle.address().add(index, address.addr(), address.prefix_len()).message_mut().clone();
        match handle.address().del(message).execute().await {
            Err(error) if kind_of(&error) != Some(io::ErrorKind::AddrNotAvailable) => {
                short.push(refused("removing an address", device, "see ip-address(8)")(error));
            }
            _ => {}
        }
    }
    short
}

fn kind_of(error: &rtnetlink::Error) -> Option<io::ErrorKind> {
    match error {
        rtnetlink::Error::NetlinkError(message) => Some(message.to_io().kind()),
        _ => None,
    }
}

/// Without duplicate address detection: the switch knows whose the address is.
async fn add_address(handle: &Handle, index: u32, address: IpNet) -> Result<(), rtnetlink::Error> {
    let mut request = handle.address().add(index, address.addr(), address.prefix_len()).replace();
    let message = request.message_mut();
    if address.addr().is_ipv6() {
        message.header.flags |= AddressHeaderFlags::Nodad;
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    request.execute().await
}

/// What is routed over the device by the main table. The kernel picks it out: a namespace may have many routes.
async fn own_routes(index: u32) -> BTreeSet<IpNet> {
    let mut own = BTreeSet::new();
    let Ok((connection, handle, _)) = rtnetlink::new_connection_with_strict_check() else { return own };
    tokio::spawn(connection);
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for (mut wanted, any) in [(v4, IpAddr::from([0_u8; 4])), (v6, IpAddr::from([0_u8; 16]))] {
        wanted.header.protocol = Default::default();
        wanted.header.scope = Default::default();
        wanted.header.kind = Default::default();
        wanted.attributes.push(RouteAttribute::Oif(index));
        let mut routes = std::pin::pin!(handle.route().get(wanted).execute());
        while let Ok(Some(route)) = routes.try_next().await {
            let leads_here = route.attributes.contains(&RouteAttribute::Oif(index));
            if leads_here && route.header.table == RouteHeader::RT_TABLE_MAIN {
                own.extend(prefix_of(&route, any));
            }
        }
    }
    own
}

fn prefix_of(route: &RouteMessage, default: IpAddr) -> Option<IpNet> {
    let address = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
        _ => None,
    });
    IpNet::new(address.unwrap_or(default), route.header.destination_prefix_length).ok()
}

fn route_message(index: u32, route: &Route) -> Result<RouteMessage, rtnetlink::Error> {
    let nonsense = |_| rtnetlink::Error::RequestFailed;
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(route.prefix.addr(), route.prefix.prefix_len())
        .map_err(nonsense)?
        .output_interface(index);
    builder = match route.gateway {
        Some(gateway) => builder.gateway(gateway).map_err(nonsense)?,
        None => builder.scope(RouteScope::Link),
    };
    if let Some(source) = route.source {
        builder = builder.pref_source(source).map_err(nonsense)?;
    }
    let mut message = builder.build();
    if route.gateway.is_some() {
        // The gateway is at the other end of the tap, whatever the namespace's other routes and rules say of its address.
        message.header.flags |= RouteFlags::Onlink;
    }
    Ok(message)
}

/// Only a route that leads over this tap already (one of `own`, looked up when it matters) is replaced: all others are the
/// node's, or the pod's, own.
async fn add_route(
    handle: &Handle,
    index: u32,
    device: &str,
    route: &Route,
    own: &mut Option<BTreeSet<IpNet>>,
) -> Result<(), NetlinkError> {
    let remedy = if route.gateway.is_some() {
        "an address of the gateway's family must be on the device"
    } else {
        "see ip-route(8)"
    };
    let failed = refused("adding a route", device, remedy);
    let message = route_message(index, route).map_err(&failed)?;
    let mut outcome = handle.route().add(message.clone()).execute().await;
    let exists = |outcome: &Result<(), _>| {
        outcome.as_ref().err().and_then(kind_of) == Some(io::ErrorKind::AlreadyExists)
    };
    if exists(&outcome) {
        if own.is_none() {
            *own = Some(own_routes(index).await);
        }
        if own.as_ref().is_some_and(|own| own.contains(&route.prefix)) {
            outcome = handle.route().add(message).replace().execute().await;
        }
    }
    outcome.map_err(|error| match (kind_of(&error), route.source) {
        (Some(io::ErrorKind::AlreadyExists), _) => {
            NetlinkError::Routed { prefix: route.prefix, device: device.to_owned() }
        }
        (Some(io::ErrorKind::InvalidInput), Some(source)) => NetlinkError::NoAddress(source),
        _ => failed(error),
    })
}
