//! Which receive queues a device spreads packets over (receive-side scaling): its indirection table, by ethtool netlink
//! (`ETHTOOL_MSG_RSS_GET`, Linux 6.3 or newer). A queue that the table names and no AF_XDP socket serves leaves its packets to
//! the node's stack, and pods would miss them.

use std::{io, thread};

use futures_util::StreamExt;
use genetlink::GenetlinkHandle;
use netlink_packet_core::{
    DecodeError, DefaultNla, Emitable, NLM_F_ACK, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, Nla,
    NlasIterator, ParseableParametrized,
};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use weft_pmd::{Netns, netns};

/// linux/ethtool_netlink.h.
mod ethtool {
    pub(super) const RSS_GET: u8 = 38;
    pub(super) const RSS_HEADER: u16 = 1;
    pub(super) const RSS_INDIR: u16 = 4;
    pub(super) const HEADER_DEV_INDEX: u16 = 1;
    pub(super) const VERSION: u8 = 1;
}

/// What is asked of a device, or what it answers.
#[derive(Debug, Clone)]
enum Rss {
    Of(u32),
    Table(Vec<u32>),
}

impl GenlFamily for Rss {
    fn family_name() -> &'static str {
        "ethtool"
    }

    fn version(&self) -> u8 {
        ethtool::VERSION
    }

    fn command(&self) -> u8 {
        ethtool::RSS_GET
    }
}

/// The device that a request is about: an attribute in an attribute.
struct Header(DefaultNla);

impl Nla for Header {
    fn value_len(&self) -> usize {
        self.0.buffer_len()
    }

    fn kind(&self) -> u16 {
        ethtool::RSS_HEADER
    }

    fn emit_value(&self, buffer: &mut [u8]) {
        self.0.emit(buffer);
    }

    fn is_nested(&self) -> bool {
        true
    }
}

impl Rss {
    fn header(&self) -> Option<Header> {
        match self {
            Self::Of(index) => {
                Some(Header(DefaultNla::new(ethtool::HEADER_DEV_INDEX, index.to_ne_bytes().to_vec())))
            }
            Self::Table(_) => None,
        }
    }
}

impl Emitable for Rss {
    fn buffer_len(&self) -> usize {
        self.header().map_or(0, |header| header.buffer_len())
    }

    fn emit(&self, buffer: &mut [u8]) {
        if let Some(header) = self.header() {
            header.emit(buffer);
        }
    }
}

impl ParseableParametrized<[u8], GenlHeader> for Rss {
    fn parse_with_param(buffer: &[u8], _: GenlHeader) -> Result<Self, DecodeError> {
        for attribute in NlasIterator::new(buffer) {
            let attribute = attribute?;
            if attribute.kind() == ethtool::RSS_INDIR {
                let (queues, _) = attribute.value().as_chunks::<4>();
                return Ok(Self::Table(queues.iter().map(|queue| u32::from_ne_bytes(*queue)).collect()));
            }
        }
        Ok(Self::Table(Vec::new()))
    }
}

/// A device's indirection table: the queue of each bucket. An error says why it can't be told.
pub fn table(place: Option<&Netns>, ifindex: u32) -> io::Result<Vec<u32>> {
    let ask = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) = genetlink::new_connection()?;
            tokio::spawn(connection);
            request(handle, ifindex).await
        })
    };
    // A runtime does not nest: on a thread of its own.
    thread::scope(|scope| {
        let asked = scope.spawn(|| netns::run_in(place, ask));
        asked.join().unwrap_or_else(|_| Err(io::Error::other("asking for the table panicked")))
    })?
}

async fn request(mut handle: GenetlinkHandle, ifindex: u32) -> io::Result<Vec<u32>> {
    let mut message = NetlinkMessage::from(GenlMessage::from_payload(Rss::Of(ifindex)));
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    let mut answers = handle.request(message).await.map_err(io::Error::other)?;
    while let Some(answer) = answers.next().await {
        match answer.map_err(io::Error::other)?.payload {
            NetlinkPayload::InnerMessage(message) => {
                if let (_, Rss::Table(table)) = message.into_parts() {
                    return Ok(table);
                }
            }
            NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
            _ => {}
        }
    }
    Ok(Vec::new())
}

/// What a table means for the queues that the switch serves; `all`: these are all that the device has.
pub fn explain(device: &str, served: &[u16], all: bool, table: &io::Result<Vec<u32>>) -> Spread {
    let table = match table {
        Ok(table) if !table.is_empty() => table,
        _ if all => return Spread::Fits(format!("all {} queues are served", served.len())),
        Ok(_) => return Spread::Unknown(unknown(device, served, "it has no indirection table")),
        Err(error) => return Spread::Unknown(unknown(device, served, &error.to_string())),
    };
    let is_served = |queue: &u32| u16::try_from(*queue).is_ok_and(|queue| served.contains(&queue));
    let mut missed: Vec<u32> = table.iter().copied().filter(|queue| !is_served(queue)).collect();
    missed.sort_unstable();
    missed.dedup();
    if missed.is_empty() {
        return Spread::Fits(format!("RSS spreads over the {} queues that are served", served.len()));
    }
    let remedy = match served.iter().enumerate().all(|(index, queue)| index == usize::from(*queue)) {
        true => format!("ethtool -X {device} equal {}", served.len()),
        false => format!("ethtool -X {device} weight … with 0 for each of them"),
    };
    Spread::Misses(format!(
        "RSS of {device} spreads over queues {missed:?}, too, which the switch does not serve: pods miss what comes there; \
         use queues = \"all\", or take them out of the table ({remedy})"
    ))
}

fn unknown(device: &str, served: &[u16], why: &str) -> String {
    format!(
        "whether {device} sends what is for pods to queues {served:?} can't be told ({why}): what comes to others goes to the \
         node's stack; use queues = \"all\" unless flow rules steer it (ethtool -N {device})"
    )
}

/// Whether what is for pods comes where the switch looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spread {
    /// It does.
    Fits(String),
    /// Some does not.
    Misses(String),
    /// That can't be told.
    Unknown(String),
}

impl Spread {
    /// The sentence.
    pub fn text(&self) -> &str {
        match self {
            Self::Fits(text) | Self::Misses(text) | Self::Unknown(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_held_against_the_queues_that_are_served() {
        let table = |queues: &[u32]| Ok(queues.to_vec());
        assert!(matches!(explain("ens1", &[0, 1], false, &table(&[0, 1, 0, 1])), Spread::Fits(_)));
        let Spread::Misses(text) = explain("ens1", &[0, 1], false, &table(&[0, 1, 2, 3])) else {
            panic!("queues 2 and 3 are missed")
        };
        assert!(text.contains("[2, 3]") && text.contains("ethtool -X ens1 equal 2"), "{text}");
        let nothing = || Err(io::Error::from_raw_os_error(95));
        assert!(matches!(explain("veth0", &[0, 1], true, &nothing()), Spread::Fits(_)));
        assert!(matches!(explain("veth0", &[1], false, &nothing()), Spread::Unknown(_)));
        assert!(matches!(explain("ens1", &[1], false, &table(&[])), Spread::Unknown(_)));
    }

    #[test]
    fn the_request_is_what_the_kernel_reads() {
        let mut bytes = vec![0; Rss::Of(7).buffer_len()];
        Rss::Of(7).emit(&mut bytes);
        let mut expect = Vec::new();
        expect.extend(12u16.to_ne_bytes()); // nested: ETHTOOL_A_RSS_HEADER
        expect.extend(0x8001u16.to_ne_bytes());
        expect.extend(8u16.to_ne_bytes()); // ETHTOOL_A_HEADER_DEV_INDEX
        expect.extend(1u16.to_ne_bytes());
        expect.extend(7u32.to_ne_bytes());
        assert_eq!(bytes, expect);
    }
}
