//! Keeps what a device receives from the node's own stack, so that whoever is at its other end (a pod) has no way around the
//! switch: not by the stack's forwarding, its addresses, bridges or VLAN devices on top, whether the switch runs or not.
//!
//! One program that drops everything does it, at tc ingress: behind XDP and AF_PACKET, so that the switch is served, and ahead
//! of all else. It is attached twice:
//! - as a tc filter (cls_bpf at clsact), which belongs to the device alone: it stays when weftd ends, however it ends, until
//!   [`release`]; the next weftd takes it over;
//! - by a tcx link while the port is open (Linux 6.6), ahead of all other programs: deleting a qdisc opens nothing, and no
//!   program of somebody else's lets frames pass before it.
//!
//! A device that goes to another namespace leaves both behind (the kernel removes them).

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use libbpf_rs::{TC_INGRESS, TcHook, TcHookBuilder};

use super::{PortError, xsk::program};
use crate::{
    netns::{self, Netns},
    sys::net,
};

/// The filter's number: "weft". By it a later weftd knows what an earlier one left.
const HANDLE: u32 = 0x7765_6674;
/// Ahead of all other filters: 0 would be a number of the kernel's choice.
const PRIORITY: u32 = 1;

/// Keeps a device's frames from the node's stack. Dropping it takes the filter off again if it was not there before, unless it was
/// told to [`stay`](Self::stay).
#[derive(Debug)]
pub struct Keeper {
    device: String,
    netns: Option<Netns>,
    ifindex: u32,
    /// The program's number.
    program: u32,
    /// The filter goes with this.
    passing: bool,
    /// The kernel detaches when it goes; none: there is no tcx.
    _link: Option<OwnedFd>,
}

/// From now on nothing that a device of the calling thread's namespace, which users name `netns`, receives gets to the stack.
pub(super) fn keep(device: &str, netns: Option<&Netns>, ifindex: u32) -> Result<Keeper, PortError> {
    let refused = |(step, source): Refused| refused(device, step, source);
    let passing = !is_kept(ifindex).map_err(refused)?;
    let program = attach(ifindex).map_err(refused)?;
    let link = program::keeper().and_then(|program| program::link_keeper(program, ifindex)).ok();
    let (device, netns) = (device.to_owned(), netns.cloned());
    Ok(Keeper { device, netns, ifindex, program, passing, _link: link })
}

impl Keeper {
    /// The filter stays when this goes, and when weftd does.
    pub fn stay(&mut self) {
        self.passing = false;
    }

    /// The filter goes when this goes, whoever put it there: the device is the node's again.
    pub fn pass(&mut self) {
        self.passing = true;
    }

    /// Puts the filter back if somebody has taken it off or changed it; true if so.
    pub fn renew(&mut self) -> Result<bool, PortError> {
        let ifindex = self.ifindex;
        let renewed = netns::run_in(self.netns.as_ref(), || {
            let program = program::keeper().map_err(|source| (LOADING, source))?;
            let there = filter(program, ifindex).query();
            if there.is_ok_and(|there| there == self.program) {
                return Ok(None);
            }
            attach(ifindex).map(Some)
        });
        let failed = |(step, source): Refused| refused(&self.device, step, source);
        let renewed =
            renewed.map_err(|source| failed(("entering the namespace", source)))?.map_err(failed)?;
        self.program = renewed.unwrap_or(self.program);
        Ok(renewed.is_some())
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.passing {
            let ifindex = self.ifindex;
            // The device may have gone, and the filter with it.
            let _ = netns::run_in(self.netns.as_ref(), || detach(ifindex));
        }
    }
}

/// Keeps a device's frames from the stack without opening it. True: it was not so before.
pub fn ensure(device: &str, netns: Option<&Netns>) -> Result<bool, PortError> {
    in_place(device, netns, |ifindex| {
        if is_kept(ifindex)? {
            return Ok(false);
        }
        attach(ifindex).map(|_| true)
    })
}

/// Lets a device's frames pass to the node's stack again, if they were kept from it. True: they were.
pub fn release(device: &str, netns: Option<&Netns>) -> Result<bool, PortError> {
    in_place(device, netns, detach)
}

fn is_kept(ifindex: u32) -> Result<bool, Refused> {
    let program = program::keeper().map_err(|source| (LOADING, source))?;
    Ok(filter(program, ifindex).query().is_ok())
}

fn detach(ifindex: u32) -> Result<bool, Refused> {
    libbpf_rs::set_print(None);
    // The program is not needed, and may not be loadable any more: the descriptor is not looked at.
    let unused = net::socket(libc::AF_INET, libc::SOCK_DGRAM, 0).map_err(|source| (RELEASING, source))?;
    match filter(unused.as_fd(), ifindex).detach().map_err(|error| program::to_io(&error)) {
        Ok(()) => Ok(true),
        // No such filter, or no qdisc to hold one.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidInput) => {
            Ok(false)
        }
        Err(source) => Err((RELEASING, source)),
    }
}

const LOADING: &str = "loading the program that keeps frames from the node's stack";
const RELEASING: &str = "taking off the filter that keeps frames from the node's stack";

type Refused = (&'static str, io::Error);

fn in_place<T: Send>(
    device: &str,
    netns: Option<&Netns>,
    work: impl FnOnce(u32) -> Result<T, Refused> + Send,
) -> Result<T, PortError> {
    let no_device = |_| PortError::NoDevice { device: device.to_owned(), netns: netns.cloned() };
    let done = netns::run_in(netns, || {
        let link = net::link_info(device).map_err(no_device)?;
        work(link.ifindex).map_err(|(step, source)| refused(device, step, source))
    });
    done.map_err(|source| match netns {
        Some(netns) => PortError::NoNetns { netns: netns.clone(), source },
        None => PortError::Spec(source.to_string()),
    })?
}

fn filter(program: BorrowedFd<'_>, ifindex: u32) -> TcHook {
    TcHookBuilder::new(program)
        .ifindex(ifindex as i32)
        .replace(true)
        .handle(HANDLE)
        .priority(PRIORITY)
        .hook(TC_INGRESS)
}

/// Attaches the filter, in the place of an earlier one; returns the program's number.
fn attach(ifindex: u32) -> Result<u32, Refused> {
    let program = program::keeper().map_err(|source| (LOADING, source))?;
    let at = |step: &'static str| move |error: libbpf_rs::Error| (step, program::to_io(&error));
    let mut hook = filter(program, ifindex);
    hook.create().map_err(at("making a clsact qdisc"))?;
    hook.attach().map_err(at("attaching the filter that keeps frames from the node's stack"))?;
    hook.query().map_err(at("asking for the filter that keeps frames from the node's stack"))
}

fn refused(device: &str, step: &'static str, source: io::Error) -> PortError {
    let remedy = match source.kind() {
        io::ErrorKind::PermissionDenied => "run weftd with CAP_NET_ADMIN and CAP_BPF".into(),
        io::ErrorKind::Unsupported => format!(
            "its ingress filters may be shared with other devices (tc qdisc show dev {device}): give it its own"
        ),
        io::ErrorKind::NotFound => {
            "without it the node's own stack takes what comes from there, past the switch: the kernel needs CONFIG_NET_SCH_INGRESS \
             and CONFIG_NET_CLS_BPF (modprobe sch_ingress cls_bpf), or use kind = \"tap\""
                .into()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::AlreadyExists => {
            format!(
                "another tc filter has priority {PRIORITY}: remove it (tc filter show dev {device} ingress)"
            )
        }
        _ => "see the kernel log".into(),
    };
    PortError::NotKept { step, device: device.to_owned(), source, remedy }
}
