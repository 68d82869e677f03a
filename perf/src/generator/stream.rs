//! The frames of one thread, one after the other.

use super::{
    flows::Picker,
    frame::Template,
    impair::{Damage, Fate, Impairer},
};
use crate::stamp::Stamp;

/// Makes stamped frames.
#[derive(Debug)]
pub struct Stream {
    /// Of each length.
    templates: Vec<Template>,
    /// Indexes of templates: one round of the mix.
    round: Vec<u16>,
    turn: usize,
    picker: Picker,
    /// The next number of each flow of this thread.
    sequences: Vec<u32>,
    run: u16,
    made: u64,
    limit: Option<u64>,
    impairer: Option<Impairer>,
}

impl Stream {
    /// Of at most so many frames.
    pub fn new(
        templates: Vec<Template>,
        round: Vec<u16>,
        picker: Picker,
        run: u16,
        limit: Option<u64>,
        impairer: Option<Impairer>,
    ) -> Self {
        let sequences = vec![0; picker.count() as usize];
        Self { templates, round, turn: 0, picker, sequences, run, made: 0, limit, impairer }
    }

    /// Writes the next frame to send; its length, or 0 when there are no more.
    #[inline]
    pub fn next(&mut self, time_ns: u32, buffer: &mut [u8]) -> usize {
        loop {
            if let Some(len) = self.impairer.as_mut().and_then(|impairer| impairer.due(buffer)) {
                return len;
            }
            if self.limit.is_some_and(|limit| self.made >= limit) {
                return self.finish(buffer);
            }
            let (len, payload, flow) = self.make(time_ns, buffer);
            let Some(impairer) = &mut self.impairer else { return len };
            if impairer.fate(&mut buffer[..len], payload, flow) == Fate::Sent {
                return len;
            }
        }
    }

    #[inline]
    fn make(&mut self, time_ns: u32, buffer: &mut [u8]) -> (usize, usize, u32) {
        let template = &self.templates[usize::from(self.round[self.turn])];
        self.turn = if self.turn + 1 == self.round.len() { 0 } else { self.turn + 1 };
        let (at, flow) = self.picker.draw();
        let stamp = Stamp { run: self.run, flow, sequence: self.sequences[at], time_ns };
        self.sequences[at] = self.sequences[at].wrapping_add(1);
        self.made += 1;
        (template.write(buffer, flow, &stamp.bytes()), template.payload(), flow)
    }

    /// There will be no new frames: writes one of those held back; 0 if there is none.
    pub fn finish(&mut self, buffer: &mut [u8]) -> usize {
        let Some(impairer) = &mut self.impairer else { return 0 };
        impairer.finish();
        impairer.due(buffer).unwrap_or(0)
    }

    /// Frames made so far: numbers used up.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// What was done to them on purpose.
    pub fn damage(&self) -> Damage {
        self.impairer.as_ref().map(Impairer::damage).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use weft_wire::Mac;

    use super::*;
    use crate::{
        generator::{flows::Pattern, frame::Headers, made, sizes::Sizes},
        sink::track::Tracker,
    };

    /// What a sink finds of so many frames, and what was done to them.
    fn sent(flows: u32, count: u64, impair: &str) -> (Tracker, Damage, u64) {
        let headers = Headers {
            macs: (Mac([2; 6]), Mac([4; 6])),
            src: "10.0.0.1".parse().unwrap(),
            dst: "10.1.0.0/16".parse().unwrap(),
            src_port: 1024,
            dst_ports: (9, 9),
            vxlan: None,
        };
        let picker = Picker::new(Pattern::Random, flows, 0, 1, 1);
        let impairer = Impairer::new(impair.parse().unwrap(), 7);
        let sizes: Sizes = "60:1,100:1".parse().unwrap();
        let mut stream = made(&headers, &sizes, picker, 1, Some(count), Some(impairer)).unwrap();
        let (mut tracker, mut buffer, mut frames) = (Tracker::new(None, false), [0; 200], 0);
        loop {
            let len = stream.next(0, &mut buffer);
            if len == 0 {
                return (tracker, stream.damage(), frames);
            }
            frames += 1;
            tracker.frame(&buffer[..len], 0);
        }
    }

    /// Impairments are counted as a sink finds them. The last frames of a flow are not missed by anybody, so none is lost there.
    #[track_caller]
    fn check(flows: u32, impair: &str) {
        let (tracker, damage, frames) = sent(flows, 10_000, impair);
        let counts = tracker.counts();
        assert_eq!(frames, 10_000 - damage.dropped + damage.duplicated, "{impair}");
        assert_eq!(counts.duplicates, damage.duplicated, "{impair}");
        assert_eq!(counts.reordered, damage.reordered, "{impair}");
        assert_eq!(counts.corrupt, damage.corrupted, "{impair}");
        assert_eq!(counts.received, 10_000 - damage.dropped - damage.corrupted, "{impair}");
        if flows == 1 {
            assert_eq!(tracker.lost(), damage.dropped, "{impair}");
        }
    }

    #[test]
    fn a_sink_finds_what_was_done_and_nothing_else() {
        for flows in [1, 50] {
            check(flows, "drop=every:101");
            check(flows, "dup=every:3,corrupt=every:7");
            check(flows, "reorder=every:30");
            check(flows, "reorder=every:30:5,dup=every:77");
            check(flows, "drop=3%,dup=2%,reorder=1%:2,corrupt=1%");
        }
        let (_, damage, _) =
            sent(1, 10_000, "drop=every:100,dup=every:75,reorder=every:70:3,corrupt=every:110");
        let wanted = Damage { dropped: 100, duplicated: 100, reordered: 123, corrupted: 67 };
        assert_eq!(damage, wanted, "those that are due for two get the first");
    }
}
