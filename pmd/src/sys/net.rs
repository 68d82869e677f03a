//! Sockets and devices: AF_PACKET, tap, and what the kernel says of an interface.
//!
//! # Safety
//! As in [`crate::sys`]: pointers live for the call, with the lengths of what they point to.

use std::{
    fs::{File, OpenOptions},
    io::{self, IoSliceMut},
    mem::{MaybeUninit, size_of, zeroed},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
};

use weft_wire::{Mac, ethertype};

use super::check;

/// Sets a socket option.
pub(crate) fn set_option<T>(fd: RawFd, level: libc::c_int, name: libc::c_int, value: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is readable for `len` bytes.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), len) }).map(drop)
}

/// Opens a socket, non-blocking and closed on exec.
pub(crate) fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let fd =
        check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) })?;
    // SAFETY: the kernel has just given us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The groups of whoever is at the other end of a Unix socket, beside its first (unix(7); SO_PEERGROUPS, Linux 4.13).
pub fn peer_groups(socket: &impl AsRawFd) -> io::Result<Vec<u32>> {
    /// What a process may have at most (NGROUPS_MAX of linux/limits.h).
    const GROUPS_MAX: usize = 65_536;
    let mut groups = vec![0_u32; GROUPS_MAX];
    let mut len = (GROUPS_MAX * size_of::<u32>()) as libc::socklen_t;
    let (fd, place) = (socket.as_raw_fd(), groups.as_mut_ptr().cast());
    // SAFETY: `groups` is writable for `len` bytes.
    check(unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERGROUPS, place, &raw mut len) })?;
    groups.truncate(len as usize / size_of::<u32>());
    Ok(groups)
}

/// Binds a socket to an address of the given type.
pub(crate) fn bind<T>(fd: RawFd, address: &T) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: `address` is readable for `len` bytes.
    check(unsafe { libc::bind(fd, std::ptr::from_ref(address).cast(), len) }).map(drop)
}

/// What the kernel says of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkInfo {
    /// Its index.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU, bytes of L3.
    pub mtu: u32,
    /// Administratively up.
    pub is_up: bool,
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data; all zeroes is one of its values.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ioctl<T>(fd: RawFd, code: libc::c_ulong, argument: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: each caller pairs the request code with the argument type that the kernel reads and writes for it.
    check(unsafe { libc::ioctl(fd, code as _, std::ptr::from_mut(argument)) })
}

/// Asks about an interface by name, in the namespace of the calling thread.
pub fn link_info(name: &str) -> io::Result<LinkInfo> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    let fd = socket.as_raw_fd();
    let mut index = request(name)?;
    ioctl(fd, libc::SIOCGIFINDEX, &mut index)?;
    let mut hardware = request(name)?;
    ioctl(fd, libc::SIOCGIFHWADDR, &mut hardware)?;
    let mut mtu = request(name)?;
    ioctl(fd, libc::SIOCGIFMTU, &mut mtu)?;
    let mut flags = request(name)?;
    ioctl(fd, libc::SIOCGIFFLAGS, &mut flags)?;
    // SAFETY: SIOCGIFINDEX has filled this field of the union.
    let ifindex = unsafe { index.ifr_ifru.ifru_ifindex };
    // SAFETY: SIOCGIFHWADDR has filled this field of the union.
    let address = unsafe { hardware.ifr_ifru.ifru_hwaddr }.sa_data;
    // SAFETY: SIOCGIFMTU has filled this field of the union.
    let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
    // SAFETY: SIOCGIFFLAGS has filled this field of the union.
    let flags = unsafe { flags.ifr_ifru.ifru_flags };
    let mut mac = [0; 6];
    mac.iter_mut().zip(address).for_each(|(to, from)| *to = from as u8);
    let is_up = libc::c_int::from(flags) & libc::IFF_UP != 0;
    Ok(LinkInfo { ifindex: ifindex as u32, mac: Mac(mac), mtu: mtu as u32, is_up })
}

/// What may change of an interface while it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFacts {
    /// Its name.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its MTU, bytes of L3.
    pub mtu: u32,
    /// Administratively up.
    pub is_up: bool,
    /// It has a carrier. One that is down has none.
    pub has_carrier: bool,
    /// Its receive queues, where that was asked for.
    pub rx_queues: Option<u16>,
}

/// Asks about an interface in a socket's namespace, whatever it is called by now. Counting queues takes the kernel's lock of
/// all devices (rtnl), which others may hold for long.
pub(crate) fn link_facts(socket: RawFd, ifindex: u32, count_queues: bool) -> io::Result<LinkFacts> {
    let mut named = request("")?;
    named.ifr_ifru.ifru_ifindex = ifindex as libc::c_int;
    ioctl(socket, libc::SIOCGIFNAME, &mut named)?;
    let bytes = named.ifr_name.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8);
    let name = String::from_utf8_lossy(&bytes.collect::<Vec<_>>()).into_owned();
    let (mut hardware, mut mtu, mut flags) = (named, named, named);
    ioctl(socket, libc::SIOCGIFHWADDR, &mut hardware)?;
    ioctl(socket, libc::SIOCGIFMTU, &mut mtu)?;
    ioctl(socket, libc::SIOCGIFFLAGS, &mut flags)?;
    // SAFETY: SIOCGIFHWADDR has filled this field of the union.
    let address = unsafe { hardware.ifr_ifru.ifru_hwaddr }.sa_data;
    // SAFETY: SIOCGIFMTU has filled this field of the union.
    let mtu = unsafe { mtu.ifr_ifru.ifru_mtu };
    // SAFETY: SIOCGIFFLAGS has filled this field of the union.
    let flags = libc::c_int::from(unsafe { flags.ifr_ifru.ifru_flags });
    let is_up = flags & libc::IFF_UP != 0;
    // IFF_RUNNING follows the carrier by up to a second (linkwatch): the driver is asked before a loss is believed.
    let has_carrier = is_up && (flags & libc::IFF_RUNNING != 0 || carrier(socket, named).unwrap_or(true));
    let rx_queues = count_queues.then(|| channels(socket, named).ok()).flatten();
    let mac = Mac(std::array::from_fn(|i| address[i] as u8));
    Ok(LinkFacts { name, mac, mtu: mtu as u32, is_up, has_carrier, rx_queues })
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// Whether the driver sees a carrier (linux/ethtool.h, ETHTOOL_GLINK).
fn carrier(socket: RawFd, mut request: libc::ifreq) -> io::Result<bool> {
    const ETHTOOL_GLINK: u32 = 0x0a;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        cmd: u32,
        data: u32,
    }
    let mut value = Value { cmd: ETHTOOL_GLINK, data: 0 };
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    ioctl(socket, SIOCETHTOOL, &mut request).map(|_| value.data != 0)
}

/// Whether an interface still exists in a socket's namespace.
pub(crate) fn link_exists(socket: RawFd, ifindex: u32) -> bool {
    let Ok(mut name) = request("") else { return false };
    name.ifr_ifru.ifru_ifindex = ifindex as libc::c_int;
    ioctl(socket, libc::SIOCGIFNAME, &mut name).is_ok()
}

/// Receive queues of an interface, as ethtool tells them; 1 where the driver does not.
pub fn rx_queues(name: &str) -> io::Result<u16> {
    let socket = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    channels(socket.as_raw_fd(), request(name)?)
}

fn channels(socket: RawFd, mut request: libc::ifreq) -> io::Result<u16> {
    const ETHTOOL_GCHANNELS: u32 = 0x3c;
    /// `struct ethtool_channels` (linux/ethtool.h).
    #[repr(C)]
    struct Channels {
        cmd: u32,
        max: [u32; 4],
        rx: u32,
        tx: u32,
        other: u32,
        combined: u32,
    }
    let mut channels = Channels { cmd: ETHTOOL_GCHANNELS, max: [0; 4], rx: 0, tx: 0, other: 0, combined: 0 };
    request.ifr_ifru.ifru_data = (&raw mut channels).cast();
    match ioctl(socket, SIOCETHTOOL, &mut request) {
        Ok(_) => Ok((channels.rx + channels.combined).max(1) as u16),
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(1),
        Err(error) => Err(error),
    }
}

/// Packets an AF_PACKET socket had no room for since the last time this was asked (packet(7), PACKET_STATISTICS).
pub(crate) fn packet_drops(fd: RawFd) -> u64 {
    // SAFETY: plain data; all zeroes is one of its values.
    let mut statistics: libc::tpacket_stats = unsafe { zeroed() };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    let place = (&raw mut statistics).cast();
    // SAFETY: `statistics` is writable for `len` bytes. An error leaves it zero.
    unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, place, &raw mut len) };
    u64::from(statistics.tp_drops)
}

/// A packet received from an AF_PACKET socket.
pub(crate) struct Received {
    /// Bytes, the virtio-net header included.
    pub(crate) len: usize,
    /// It was longer than the buffers.
    pub(crate) truncated: bool,
    /// The VLAN tag that the kernel took out of the frame: TPID and TCI, as they lie on the wire.
    pub(crate) vlan: Option<[u8; 4]>,
}

/// Receives one packet with its auxiliary data (packet(7), PACKET_AUXDATA).
pub(crate) fn receive(fd: RawFd, buffers: &mut [IoSliceMut<'_>]) -> io::Result<Received> {
    /// Room for one control message of `tpacket_auxdata`, aligned as `cmsghdr` must be.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    // SAFETY: `msghdr` is plain data; all zeroes is one of its values.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = buffers.as_mut_ptr().cast(); // `IoSliceMut` has the layout of `iovec` (its documentation)
    message.msg_iovlen = buffers.len() as _;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    // SAFETY: the message points to live buffers with their lengths.
    let len = unsafe { libc::recvmsg(fd, &raw mut message, libc::MSG_DONTWAIT) };
    if len < 0 {
        return Err(io::Error::last_os_error());
    }
    let truncated = message.msg_flags & libc::MSG_TRUNC != 0;
    Ok(Received { len: len as usize, truncated, vlan: auxiliary_tag(&message) })
}

fn auxiliary_tag(message: &libc::msghdr) -> Option<[u8; 4]> {
    // SAFETY: the kernel has filled the message's control buffer.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: null, or a control message inside the buffer.
    let header_ref = unsafe { header.as_ref() }?;
    if (header_ref.cmsg_level, header_ref.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return None;
    }
    // SAFETY: points behind the header, inside the buffer.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: the kernel has put a whole `tpacket_auxdata` there; it need not be aligned.
    let auxiliary = unsafe { data.cast::<libc::tpacket_auxdata>().read_unaligned() };
    (auxiliary.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then(|| tag_of(&auxiliary))
}

/// packet(7), `tp_vlan_tpid`: a service tag (802.1ad) is taken out as a customer tag is. Kernels before 3.14 do not tell them
/// apart, and take out customer tags only.
fn tag_of(auxiliary: &libc::tpacket_auxdata) -> [u8; 4] {
    let is_told = auxiliary.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let tpid = if is_told { auxiliary.tp_vlan_tpid } else { ethertype::VLAN };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), auxiliary.tp_vlan_tci.to_be_bytes());
    [a, b, c, d]
}

/// Opens one queue of a tap device, which is made with the first; `multi_queue` for all queues or none.
pub fn open_tap(name: &str, multi_queue: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open("/dev/net/tun")?;
    let mut request = request(name)?;
    let mut flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    if multi_queue {
        flags |= libc::IFF_MULTI_QUEUE;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    ioctl(file.as_raw_fd(), libc::TUNSETIFF as libc::c_ulong, &mut request)?;
    set_tap_header_size(&file, crate::offload::vnet::VnetHeader::TAP as i32)?;
    Ok(file)
}

/// Sets how many bytes of virtio-net header are in front of a tap's frames, at all of its queues.
pub fn set_tap_header_size(queue: &File, mut size: i32) -> io::Result<()> {
    ioctl(queue.as_raw_fd(), libc::TUNSETVNETHDRSZ as libc::c_ulong, &mut size).map(drop)
}

/// What everybody with a queue of a tap device may change for all of its queues, and weftd relies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TapSettings {
    /// Bytes of virtio-net header in front of each frame (TUNSETVNETHDRSZ).
    pub(crate) header_size: i32,
    /// It has such a header (IFF_VNET_HDR).
    pub(crate) has_header: bool,
    /// It outlives its queues (TUNSETPERSIST).
    pub(crate) persists: bool,
}

/// Asks a tap device by one of its queues. An error: it is gone.
pub(crate) fn tap_settings(file: &File) -> io::Result<TapSettings> {
    let fd = file.as_raw_fd();
    let mut header_size: libc::c_int = 0;
    ioctl(fd, libc::TUNGETVNETHDRSZ as libc::c_ulong, &mut header_size)?;
    let mut asked = request("")?;
    ioctl(fd, libc::TUNGETIFF as libc::c_ulong, &mut asked)?;
    // SAFETY: TUNGETIFF has filled this field of the union.
    let flags = libc::c_int::from(unsafe { asked.ifr_ifru.ifru_flags });
    let has = |flag: libc::c_int| flags & flag != 0;
    Ok(TapSettings { header_size, has_header: has(libc::IFF_VNET_HDR), persists: has(IFF_PERSIST) })
}

/// linux/if_tun.h.
const IFF_PERSIST: libc::c_int = 0x0800;

/// Tells a tap device which offloads its other side may use (`TUN_F_*`).
pub(crate) fn set_tap_offload(file: &File, flags: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value.
    check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(flags)) })
        .map(drop)
}

/// Lifts this process's limit on locked memory, as far as it may: UMEMs are pinned.
pub(crate) fn lift_memlock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a live struct. Without the right it fails, and binding a socket will say so.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

/// Lifts this process's limit on open files as far as it may: a port has several.
pub fn lift_open_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a live struct to fill.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0 {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: a live struct. If it fails, the limit is what it was.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    }
}

/// The current limit on locked memory, bytes; none: unlimited.
pub fn memlock_limit() -> Option<u64> {
    let mut limit = MaybeUninit::<libc::rlimit>::zeroed();
    // SAFETY: a live struct to fill.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, limit.as_mut_ptr()) };
    // SAFETY: all zeroes was a value already; getrlimit fills it.
    let limit = unsafe { limit.assume_init() };
    (limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}
