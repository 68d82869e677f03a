//! How fast to send, and the keeping of it.

use std::{fmt, str::FromStr, time::Duration};

use super::sizes::FCS;

/// A rate as users give it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// Frames a second.
    Packets(f64),
    /// Bits a second of frames with their FCS (L2).
    Bits(f64),
}

impl Rate {
    /// Frames a second, if they are this long on average (bytes without FCS).
    pub fn packets_per_second(self, mean_size: f64) -> f64 {
        match self {
            Self::Packets(rate) => rate,
            Self::Bits(rate) => rate / (8.0 * (mean_size + FCS as f64)),
        }
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("`{text}` is no rate: give 1.5Mpps, 200kpps, 500pps, 2Gb/s or 100Mb/s (L2, with FCS)");
        let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
        let value: f64 = text[..end].trim().parse().map_err(|_| bad())?;
        let (factor, unit) = match text[end..].chars().next() {
            Some('k' | 'K') => (1e3, &text[end + 1..]),
            Some('M') => (1e6, &text[end + 1..]),
            Some('G') => (1e9, &text[end + 1..]),
            _ => (1.0, &text[end..]),
        };
        let value = value * factor;
        if !(value.is_finite() && value > 0.0) {
            return Err(bad());
        }
        match unit.trim().to_ascii_lowercase().as_str() {
            "pps" | "p/s" => Ok(Self::Packets(value)),
            "b/s" | "bps" | "bit/s" | "bit" => Ok(Self::Bits(value)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self {
            Self::Packets(rate) => (*rate, "pps"),
            Self::Bits(rate) => (*rate, "b/s"),
        };
        let (value, prefix) = match value {
            value if value >= 1e9 => (value / 1e9, "G"),
            value if value >= 1e6 => (value / 1e6, "M"),
            value if value >= 1e3 => (value / 1e3, "k"),
            value => (value, ""),
        };
        write!(f, "{value}{prefix}{unit}")
    }
}

/// Says how many frames are due.
///
/// What could not be sent in time is caught up with up to a limit, of a millisecond's worth unless told otherwise. More is
/// given up and counted, as a burst of the generator's own making would be the switch's loss.
#[derive(Debug, Clone)]
pub struct Pace {
    per_ns: Option<f64>,
    patience_ns: f64,
    began_ns: Option<u64>,
    /// Of the rate: sent or given up.
    passed: u64,
    missed: u64,
}

/// How far behind a pace may fall.
const PATIENCE: Duration = Duration::from_millis(1);

impl Pace {
    /// So many a second; `None` is as fast as it goes.
    pub fn new(packets_per_second: Option<f64>) -> Self {
        let per_ns = packets_per_second.map(|rate| rate / 1e9);
        Self { per_ns, began_ns: None, passed: 0, missed: 0, patience_ns: 0.0 }.with_patience(PATIENCE)
    }

    /// Catches up with what is less late than this.
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience_ns: patience.as_nanos() as f64, ..self }
    }

    /// How many frames are due now, at most so many.
    pub fn due(&mut self, now_ns: u64, burst: usize) -> usize {
        let began = *self.began_ns.get_or_insert(now_ns);
        let Some(per_ns) = self.per_ns else { return burst };
        let wanted = (now_ns.saturating_sub(began) as f64 * per_ns) as u64 + 1; // the first at once
        let behind = wanted.saturating_sub(self.passed);
        let most = ((per_ns * self.patience_ns) as u64).max(burst as u64);
        if behind > most {
            self.missed += behind - most;
            self.passed += behind - most;
        }
        (behind.min(most) as usize).min(burst)
    }

    /// So many of them were sent.
    pub fn sent(&mut self, frames: usize) {
        self.passed += frames as u64;
    }

    /// Frames given up so far.
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        for (text, rate) in [
            ("1.5Mpps", Rate::Packets(1.5e6)),
            ("200kpps", Rate::Packets(2e5)),
            ("7 pps", Rate::Packets(7.0)),
            ("2Gb/s", Rate::Bits(2e9)),
            ("100Mbit/s", Rate::Bits(1e8)),
        ] {
            assert_eq!(text.parse(), Ok(rate), "{text}");
        }
        for bad in ["", "5", "fast", "-1Mpps", "0pps", "1.5M", "2GB/h", "1e999Mpps"] {
            assert!(bad.parse::<Rate>().unwrap_err().contains("1.5Mpps"), "{bad}");
        }
        assert_eq!("1.5Mpps".parse::<Rate>().unwrap().to_string(), "1.5Mpps");
        // 60 bytes and their FCS are 512 bits.
        assert_eq!(Rate::Bits(512e3).packets_per_second(60.0), 1000.0);
    }

    #[test]
    fn a_pace_is_kept_over_any_steps() {
        let mut pace = Pace::new(Some(1e6));
        let (mut now, mut sent) = (5_000, 0);
        for step in [1, 700, 300, 2_000, 50_000].iter().cycle().take(1000) {
            now += step;
            let due = pace.due(now, 64);
            pace.sent(due);
            sent += due;
        }
        let wanted = (now - 5_001) / 1000;
        assert!(
            sent as u64 + pace.missed() >= wanted - 64 && sent as u64 <= wanted + 1,
            "{sent} of {wanted}"
        );
    }

    #[test]
    fn a_long_silence_is_given_up_not_caught_up_with() {
        let mut pace = Pace::new(Some(1e6));
        assert_eq!(pace.due(0, 64), 1);
        pace.sent(1);
        let mut caught_up = 0;
        loop {
            let due = pace.due(1_000_000_000, 64);
            pace.sent(due);
            caught_up += due;
            if due == 0 {
                break;
            }
        }
        assert_eq!(caught_up, 1000, "a millisecond's worth");
        assert_eq!(pace.missed(), 999_000);
        assert_eq!(Pace::new(None).due(0, 64), 64);
    }
}
