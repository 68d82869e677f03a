//! `pcap`: receives the frames of one capture file, writes what is sent to another. For tests and reproductions.

use std::{
    fs::File,
    io::{BufReader, BufWriter},
    os::fd::RawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use pcap_file::pcap::{PcapPacket, PcapReader, PcapWriter};
use weft_wire::Mac;

use super::{Caps, Guard, LinkProbe, Opened, PortError, PortInfo, PortQueue, Queue, Sent, Vanished};
use crate::{burst::Burst, files, frame::FramePool};

/// All of a capture is kept in memory, bytes.
const CAPTURE_MAX: u64 = 1 << 30;

/// What to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// The file to read frames from.
    pub rx: Option<PathBuf>,
    /// The file to write frames to.
    pub tx: Option<PathBuf>,
    /// Begin again at the end of the file.
    pub repeat: bool,
    /// Largest IP packet, bytes.
    pub mtu: u32,
}

/// Opens the port: reads all of the one file, creates the other.
pub fn open(spec: &Spec) -> Result<Opened, PortError> {
    let frames = spec.rx.as_deref().map(read).transpose()?.unwrap_or_default();
    let writer = spec.tx.as_deref().map(create).transpose()?;
    let queue = PcapQueue { frames: frames.into(), next: 0, repeat: spec.repeat, writer, written: 0 };
    Ok(Opened {
        queues: vec![Queue::Pcap(Box::new(queue))],
        info: PortInfo {
            mac: Mac::ZERO,
            ifindex: 0,
            caps: Caps { mtu: spec.mtu, csum: false, gso: false },
            mode: "file".into(),
            why: String::new(),
        },
        guard: Guard::None,
        probe: LinkProbe::NONE,
    })
}

fn refused(step: &'static str, path: &Path, source: std::io::Error) -> PortError {
    let remedy = "name a classic pcap file of Ethernet frames (tcpdump -w)".into();
    PortError::Refused { step, device: path.display().to_string(), source, remedy }
}

fn read(path: &Path) -> Result<Vec<Vec<u8>>, PortError> {
    let failed =
        |error: pcap_file::PcapError| refused("reading a capture", path, std::io::Error::other(error));
    let file =
        files::open_regular(path, CAPTURE_MAX).map_err(|error| refused("opening a capture", path, error))?;
    let mut reader = PcapReader::new(BufReader::new(file)).map_err(failed)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet.map_err(failed)?.data.into_owned());
    }
    Ok(frames)
}

fn create(path: &Path) -> Result<PcapWriter<BufWriter<File>>, PortError> {
    let file = files::create(path).map_err(|error| refused("creating a capture", path, error))?;
    PcapWriter::new(BufWriter::new(file))
        .map_err(|error| refused("writing a capture", path, std::io::Error::other(error)))
}

/// The port's one queue.
pub struct PcapQueue {
    frames: Arc<[Vec<u8>]>,
    next: usize,
    repeat: bool,
    writer: Option<PcapWriter<BufWriter<File>>>,
    written: u64,
}

impl std::fmt::Debug for PcapQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PcapQueue")
            .field("next", &self.next)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}

impl PortQueue for PcapQueue {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<(), Vanished> {
        while burst.room() > 0 {
            if self.repeat && self.next == self.frames.len() {
                self.next = 0;
            }
            let Some(bytes) = self.frames.get(self.next) else { break };
            let Some(frame) = pool.alloc_copy(bytes) else { break };
            self.next += 1;
            if let Err(frame) = burst.push(frame) {
                pool.free(frame); // can't be: there was room
            }
        }
        Ok(())
    }

    fn tx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> Result<Sent, Vanished> {
        let mut sent = Sent::default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        for frame in burst.as_slice() {
            let bytes = pool.bytes(frame);
            let wrote = self.writer.as_mut().is_none_or(|writer| {
                writer.write_packet(&PcapPacket::new(now, bytes.len() as u32, bytes)).is_ok()
            });
            if wrote {
                sent.packets += 1;
                sent.bytes += bytes.len() as u64;
            } else {
                sent.refused += 1;
            }
        }
        self.written += u64::from(sent.packets);
        burst.free_all(pool);
        Ok(sent)
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn close(&mut self, _: &mut FramePool) {
        self.writer = None; // flushes
    }
}
