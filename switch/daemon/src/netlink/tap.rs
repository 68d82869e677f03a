//! Puts a tap where it belongs: its namespace, name, MAC, MTU, addresses and routes.

use std::{fs::File, net::IpAddr, os::fd::AsRawFd};

use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags},
        route::RouteScope,
    },
};
use weft_pmd::Netns;
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
    let file = netns.map(|netns| File::open(netns.path())).transpose();
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
    configure(placement)
}

/// Brings a placed tap's MAC, MTU, addresses and routes to what they should be. What is there already is left alone.
pub fn configure(placement: &Placement) -> Result<(), NetlinkError> {
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
        for address in &placement.addresses {
            add_address(&handle, index, *address).await.map_err(refused(
                "adding an address",
                device,
                "see ip-address(8)",
            ))?;
        }
        for (prefix, source) in &placement.on_link {
            let added = add_route(&handle, index, *prefix, None, *source).await;
            added.map_err(refused("adding a route", device, "see ip-route(8)"))?;
        }
        for gateway in &placement.gateways {
            let remedy = "an address of the gateway's family must be on the device";
            let direct = add_route(&handle, index, IpNet::from(*gateway), None, None).await;
            direct.map_err(refused("adding a route to the gateway", device, remedy))?;
            let everything = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            if let Ok(everything) = everything.parse() {
                let default = add_route(&handle, index, everything, Some(*gateway), None).await;
                default.map_err(refused("adding the default route", device, remedy))?;
            }
        }
        Ok(())
    })
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

async fn add_route(
    handle: &Handle,
    index: u32,
    prefix: IpNet,
    gateway: Option<IpAddr>,
    source: Option<IpAddr>,
) -> Result<(), rtnetlink::Error> {
    let nonsense = |_| rtnetlink::Error::RequestFailed;
    let mut builder = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(prefix.addr(), prefix.prefix_len())
        .map_err(nonsense)?
        .output_interface(index);
    builder = match gateway {
        Some(gateway) => builder.gateway(gateway).map_err(nonsense)?,
        None => builder.scope(RouteScope::Link),
    };
    if let Some(source) = source {
        builder = builder.pref_source(source).map_err(nonsense)?;
    }
    handle.route().add(builder.build()).replace().execute().await
}
