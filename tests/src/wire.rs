//! A device's other end, driven with raw frames by libpcap, which puts back the tags that the kernel takes out.

use std::time::{Duration, Instant};

use pcap::{Active, Capture, Direction};

use crate::netns::NetNs;

/// Raw frames at a device.
pub struct Wire(Capture<Active>);

impl Wire {
    /// Opens it; what it gets from now on waits for [`Wire::frames`].
    #[track_caller]
    pub fn open(ns: &NetNs, device: &str) -> Self {
        let open = || {
            let capture = Capture::from_device(device)?.immediate_mode(true).promisc(true).snaplen(65_535);
            let capture = capture.open()?;
            capture.direction(Direction::In)?;
            capture.setnonblock()
        };
        let opened = ns.netns().run(open).expect("namespace");
        Self(opened.unwrap_or_else(|error| panic!("{device}: {error}")))
    }

    /// Sends a frame as it is.
    #[track_caller]
    pub fn send(&mut self, frame: &[u8]) {
        self.0.sendpacket(frame).expect("the device takes it");
    }

    /// The frames, of those that come within some time, that `wanted` says yes to; ends early after `count`.
    pub fn frames(&mut self, seconds: f32, count: usize, wanted: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let deadline = Instant::now() + Duration::from_secs_f32(seconds);
        let mut frames = Vec::new();
        while frames.len() < count && Instant::now() < deadline {
            match self.0.next_packet() {
                Ok(packet) if wanted(packet.data) => frames.push(packet.data.to_vec()),
                Ok(_) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(2)), // nothing there
            }
        }
        frames
    }
}
