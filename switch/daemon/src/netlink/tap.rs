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
        route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteScope},
    },
};
use weft_pmd::{Netns, netns, sys::net};
use weft_wire::Mac;

use super::{NetlinkError, index_of, with_handle};

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

/// Moves a new tap from weftd's namespace to its own, and configures it.
pub fn place(ifindex: u32, placement: &Placement) -> Result<(), NetlinkError> {
    let device = &placement.device;
    let netns = placement.netns.as_ref();
    // An earlier weftd's in a pod: somebody there has a queue of it, or made it stay.
    let is_there =
        netns.is_some() && netns::run_in(netns, || net::link_info(device)).is_ok_and(|it| it.is_ok());
    if is_there && remove(netns, device)? {
        tracing::warn!(device, "an earlier weftd's tap was still there, and is removed");
    }
    let file = netns.map(Netns::open).transpose();
    let file = file.map_err(|source| NetlinkError::Io {
        place: netns.map_or(String::new(), |netns| netns.path().display().to_string()),
        source,
    })?;
    with_handle(None, |handle| async move {
        let message = LinkUnspec::new_with_index(ifindex).name(device.clone());
        let message = match &file {
            Some(file) => message.setns_by_fd(file.as_raw_fd()),
            None => message,
        };
        let remedy = "the namespace has a device of this name already: remove it, or choose another";
        handle.link().set(message.build()).execute().await.map_err(refused("placing the tap", device, remedy))
    })?;
    configure(placement, None)
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

/// Brings a placed tap's MAC, MTU, addresses and routes to what they should be. What `old` had and is no longer wanted goes;
/// what others put there is left alone.
pub fn configure(placement: &Placement, old: Option<&Placement>) -> Result<(), NetlinkError> {
    let device = placement.device.as_str();
    with_handle(placement.netns.as_ref(), |handle| async move {
        let index = index_of(&handle, device).await?;
        if placement.netns.is_some()
            && let Ok(lo) = index_of(&handle, "lo").await
        {
            let up = LinkUnspec::new_with_index(lo).up().build();
            handle.link().set(up).execute().await.map_err(refused("bringing lo up", "lo", "see dmesg"))?;
        }
        let mut message = LinkUnspec::new_with_index(index).mtu(placement.mtu).up();
        if let Some(mac) = placement.mac {
            message = message.address(mac.0.to_vec());
        }
        let remedy = "check the port's mtu and mac";
        handle.link().set(message.build()).execute().await.map_err(refused(
            "setting up the tap",
            device,
            remedy,
        ))?;
        if let Some(old) = old {
            remove_unwanted(&handle, index, old, placement).await?;
        }
        for address in &placement.addresses {
            add_address(&handle, index, *address).await.map_err(refused(
                "adding an address",
                device,
                "see ip-address(8)",
            ))?;
        }
        let own = own_routes(&handle, index).await;
        for route in placement.routes() {
            add_route(&handle, index, device, &route, own.contains(&route.prefix)).await?;
        }
        Ok(())
    })
}

/// Routes go first: without their source address, some go by themselves and some stay.
async fn remove_unwanted(
    handle: &Handle,
    index: u32,
    old: &Placement,
    new: &Placement,
) -> Result<(), NetlinkError> {
    let (device, own, wanted) = (new.device.as_str(), own_routes(handle, index).await, new.routes());
    let failed = refused("removing a route", device, "see ip-route(8)");
    // Whoever needs another goes before it.
    for route in old.routes().iter().rev() {
        let stays = wanted.iter().any(|new| (new.prefix, new.gateway) == (route.prefix, route.gateway));
        if stays || !own.contains(&route.prefix) {
            continue;
        }
        let message = route_message(index, route).map_err(&failed)?;
        handle.route().del(message).execute().await.map_err(&failed)?;
    }
    for address in old.addresses.iter().filter(|address| !new.addresses.contains(address)) {
        let message = handle.address().add(index, address.addr(), address.prefix_len()).message_mut().clone();
        match handle.address().del(message).execute().await {
            Err(error) if kind_of(&error) != Some(io::ErrorKind::AddrNotAvailable) => {
                return Err(refused("removing an address", device, "see ip-address(8)")(error));
            }
            _ => {}
        }
    }
    Ok(())
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

/// What is routed over the device by the main table.
async fn own_routes(handle: &Handle, index: u32) -> BTreeSet<IpNet> {
    let mut own = BTreeSet::new();
    let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
    for (everything, any) in [(v4, IpAddr::from([0_u8; 4])), (v6, IpAddr::from([0_u8; 16]))] {
        let mut routes = std::pin::pin!(handle.route().get(everything).execute());
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
    Ok(builder.build())
}

/// Only a route that leads over this tap already is replaced: all others are the node's, or the pod's, own.
async fn add_route(
    handle: &Handle,
    index: u32,
    device: &str,
    route: &Route,
    is_own: bool,
) -> Result<(), NetlinkError> {
    let remedy = if route.gateway.is_some() {
        "an address of the gateway's family must be on the device"
    } else {
        "see ip-route(8)"
    };
    let failed = refused("adding a route", device, remedy);
    let request = handle.route().add(route_message(index, route).map_err(&failed)?);
    let outcome = if is_own { request.replace().execute().await } else { request.execute().await };
    outcome.map_err(|error| match (kind_of(&error), route.source) {
        (Some(io::ErrorKind::AlreadyExists), _) => {
            NetlinkError::Routed { prefix: route.prefix, device: device.to_owned() }
        }
        (Some(io::ErrorKind::InvalidInput), Some(source)) => NetlinkError::NoAddress(source),
        _ => failed(error),
    })
}
