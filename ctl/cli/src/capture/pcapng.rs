//! pcapng (draft-ietf-opsawg-pcapng): an interface per port, a comment per packet, statistics at the end.

use std::{
    borrow::Cow,
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};
use weft_ctl_api::capture::{CaptureStarted, End, Head, Point, Verdict};

/// What tcpdump says for "all of it"; larger than any packet.
const SNAPLEN: u32 = 262_144;

pub(super) struct Writer<W: Write> {
    out: PcapNgWriter<W>,
    filter: Option<String>,
    snaplen: u32,
    began: SystemTime,
    /// Packets of each interface.
    delivered: Vec<u64>,
}

fn failed(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn new(
        to: W,
        started: &CaptureStarted,
        filter: Option<String>,
        snaplen: u32,
    ) -> io::Result<Self> {
        let comment = format!("weft's capture of {}", started.what);
        let application = format!("weftctl {}, weftd {}", env!("CARGO_PKG_VERSION"), started.version);
        let section = SectionHeaderBlock {
            // Times of statistics are two words, high and low: the library writes one number, which is the same in this order.
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::Comment(comment.into()),
                SectionHeaderOption::UserApplication(application.into()),
            ],
            ..SectionHeaderBlock::default()
        };
        let out = PcapNgWriter::with_section_header(to, section).map_err(failed)?;
        let snaplen = if snaplen == 0 { SNAPLEN } else { snaplen };
        Ok(Self { out, filter, snaplen, began: SystemTime::now(), delivered: Vec::new() })
    }

    /// The next interface: they are numbered in the order in which weftd tells of ports.
    pub(super) fn interface(&mut self, name: &str) -> io::Result<()> {
        /// Nanoseconds: ten to the minus this.
        const RESOLUTION: u8 = 9;
        /// What follows is a filter in words.
        const WORDS: u8 = 0;
        let mut options = vec![
            InterfaceDescriptionOption::IfName(name.into()),
            InterfaceDescriptionOption::IfDescription("a port of a weft switch".into()),
            InterfaceDescriptionOption::IfTsResol(RESOLUTION),
        ];
        if let Some(filter) = &self.filter {
            let filter = [&[WORDS], filter.as_bytes()].concat();
            options.push(InterfaceDescriptionOption::IfFilter(filter.into()));
        }
        self.delivered.push(0);
        self.write(InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: self.snaplen, options })
    }

    pub(super) fn packet(
        &mut self,
        head: &Head,
        bytes: Vec<u8>,
        verdict: Option<&Verdict>,
    ) -> io::Result<()> {
        /// epb_flags, the lowest two bits.
        const INBOUND: u32 = 1;
        const OUTBOUND: u32 = 2;
        let mut options = vec![EnhancedPacketOption::Comment(comment(head, verdict).into())];
        match head.point {
            Point::In => options.push(EnhancedPacketOption::Flags(INBOUND)),
            Point::Out => options.push(EnhancedPacketOption::Flags(OUTBOUND)),
            Point::Drop => {}
        }
        if let Some(delivered) = self.delivered.get_mut(head.port as usize) {
            *delivered += 1;
        }
        self.write(EnhancedPacketBlock {
            interface_id: head.port,
            timestamp: Duration::from_nanos(head.time_ns),
            original_len: head.len,
            data: Cow::Owned(bytes),
            options,
        })
    }

    /// What was captured and lost. weftd counts losses for a capture as a whole: with several interfaces they are told in a
    /// comment, as nobody knows whose they were.
    pub(super) fn statistics(&mut self, end: Option<&End>) -> io::Result<()> {
        let nanoseconds =
            |time: SystemTime| time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let now = nanoseconds(SystemTime::now());
        for (id, delivered) in self.delivered.clone().into_iter().enumerate() {
            let mut options = vec![
                InterfaceStatisticsOption::IsbStartTime(nanoseconds(self.began)),
                InterfaceStatisticsOption::IsbEndTime(now),
            ];
            match end {
                Some(end) if self.delivered.len() == 1 => options.extend([
                    InterfaceStatisticsOption::IsbIfRecv(end.matched),
                    InterfaceStatisticsOption::IsbIfDrop(end.lost),
                ]),
                Some(end) if end.lost > 0 => options.push(InterfaceStatisticsOption::Comment(
                    format!("{} packets of all interfaces were lost", end.lost).into(),
                )),
                _ => {}
            }
            options.push(InterfaceStatisticsOption::IsbUsrDeliv(delivered));
            self.write(InterfaceStatisticsBlock { interface_id: id as u32, timestamp: now, options })?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.get_mut().flush()
    }

    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        self.out.write_pcapng_block(block).map(drop).map_err(failed)
    }
}

/// For people, and for Wireshark's `frame.comment contains "reason=spoofed"`.
fn comment(head: &Head, verdict: Option<&Verdict>) -> String {
    let mut text = verdict.map_or_else(|| "verdict=?".to_owned(), super::line::words_of);
    if let Some(meaning) = verdict.and_then(|verdict| verdict.meaning.as_ref()) {
        text += &format!(" ({meaning})");
    }
    format!("{text} generation={}", head.generation)
}
