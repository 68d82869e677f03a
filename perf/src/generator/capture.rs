//! Replay of a capture file: its frames as they are, in its own time or at a rate.

use std::{fs::File, io::BufReader, path::Path};

use pcap_file::{
    pcap::PcapReader,
    pcapng::{Block, PcapNgReader},
};
use weft_wire::Mac;

use crate::{lab::Error, xsk::MAX_FRAME};

/// Frames, and when each comes.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Nanoseconds since the first one's, and bytes.
    frames: Vec<(u64, Vec<u8>)>,
    at: usize,
    rounds_left: u64,
    /// When the first frame of this round was due.
    began_ns: Option<u64>,
}

/// What is read at most: it is all kept in memory.
const LARGEST: u64 = 1 << 30;

impl Capture {
    /// Reads a pcap or pcapng file, to be sent `rounds` times (0: for ever). `dst` replaces each frame's destination MAC.
    pub fn read(path: &Path, rounds: u64, dst: Option<Mac>) -> Result<Self, Error> {
        let usage = |what: String| Error::Usage(format!("--pcap {}: {what}", path.display()));
        let meta = std::fs::metadata(path).map_err(|error| usage(error.to_string()))?;
        if !meta.is_file() || meta.len() > LARGEST {
            return Err(usage("it is no regular file of at most 1 GiB".into()));
        }
        let mut frames = packets(path).map_err(&usage)?;
        let Some((first, _)) = frames.first() else { return Err(usage("there is no frame in it".into())) };
        let first = *first;
        for (at, (time, frame)) in frames.iter_mut().enumerate() {
            *time = time.saturating_sub(first);
            if frame.len() < 14 || frame.len() > MAX_FRAME {
                let len = frame.len();
                return Err(usage(format!(
                    "frame {} has {len} bytes: 14 to {MAX_FRAME} can be sent",
                    at + 1
                )));
            }
            if let Some(dst) = dst {
                frame[..6].copy_from_slice(&dst.0);
            }
        }
        let rounds_left = if rounds == 0 { u64::MAX } else { rounds };
        Ok(Self { frames, at: 0, rounds_left, began_ns: None })
    }

    /// Their mean length.
    pub fn mean_size(&self) -> f64 {
        self.frames.iter().map(|(_, frame)| frame.len() as f64).sum::<f64>() / self.frames.len() as f64
    }

    /// Frames of each round.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Whether the next frame's own time has come. The next round begins with the last frame's time.
    pub fn is_due(&mut self, now_ns: u64) -> bool {
        let began = *self.began_ns.get_or_insert(now_ns);
        self.frames.get(self.at).is_some_and(|(time, _)| now_ns >= began + time)
    }

    /// Writes the next frame; its length, or 0 when there are no more.
    pub fn next(&mut self, buffer: &mut [u8]) -> usize {
        let Some((time, frame)) = self.frames.get(self.at) else { return 0 };
        if self.rounds_left == 0 {
            return 0;
        }
        buffer[..frame.len()].copy_from_slice(frame);
        self.at += 1;
        if self.at == self.frames.len() {
            (self.at, self.rounds_left) = (0, self.rounds_left - 1);
            self.began_ns = self.began_ns.map(|began| began + time);
        }
        frame.len()
    }

    /// Whether all was sent.
    pub fn is_over(&self) -> bool {
        self.rounds_left == 0
    }
}

/// Times in nanoseconds and bytes, in the file's order.
fn packets(path: &Path) -> Result<Vec<(u64, Vec<u8>)>, String> {
    let open = || File::open(path).map(BufReader::new).map_err(|error| error.to_string());
    let nanoseconds = |time: std::time::Duration| time.as_nanos() as u64;
    let mut frames = Vec::new();
    if let Ok(mut reader) = PcapReader::new(open()?) {
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| error.to_string())?;
            frames.push((nanoseconds(packet.timestamp), packet.data.into_owned()));
        }
        return Ok(frames);
    }
    let mut reader = PcapNgReader::new(open()?).map_err(|_| "it is neither pcap nor pcapng".to_owned())?;
    while let Some(block) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.map_err(|error| error.to_string())? {
            frames.push((nanoseconds(packet.timestamp), packet.data.into_owned()));
        }
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcap::{PcapPacket, PcapWriter};

    use super::*;

    fn written(times_us: &[u64]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = PcapWriter::new(file.reopen().unwrap()).unwrap();
        for (at, time) in times_us.iter().enumerate() {
            let data = vec![at as u8; 60 + at];
            writer
                .write_packet(&PcapPacket::new(Duration::from_micros(*time), data.len() as u32, &data))
                .unwrap();
        }
        file
    }

    #[test]
    fn frames_come_in_their_own_time_round_after_round() {
        let file = written(&[1_000_000, 1_000_005]);
        let mut capture = Capture::read(file.path(), 2, Some(Mac([9; 6]))).unwrap();
        let mut buffer = [0; 100];
        let mut sent = Vec::new();
        for now in (0..20_000).step_by(500) {
            while capture.is_due(now) && !capture.is_over() {
                sent.push((now, capture.next(&mut buffer), buffer[0], buffer[6]));
            }
        }
        assert_eq!(sent, [(0, 60, 9, 0), (5_000, 61, 9, 1), (5_000, 60, 9, 0), (10_000, 61, 9, 1)]);
        assert!(capture.is_over());
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let says = |path: &Path| Capture::read(path, 1, None).unwrap_err().to_string();
        assert!(says(Path::new("/dev/zero")).contains("no regular file"));
        assert!(says(Path::new("/no/such.pcap")).contains("--pcap /no/such.pcap"));
        assert!(says(Path::new(file!())).contains("capture") || !Path::new(file!()).exists());
        assert!(says(written(&[]).path()).contains("no frame"));
    }
}
