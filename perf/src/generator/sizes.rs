//! Frame lengths: one, or a mix. Without the frame check sequence, as Linux pktgen counts: 60 is 64 on the wire.

use std::{fmt, str::FromStr};

/// The frame check sequence, which nobody hands to a driver.
pub const FCS: usize = 4;
/// Preamble, start of frame and gap: what a frame takes on the wire beside itself and its FCS (802.3 §4.4.2).
pub const WIRE_GAP: usize = 20;
/// What Ethernet wants at least.
pub const SHORTEST: u16 = 60;

/// Lengths and how often each comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes(Vec<(u16, u32)>);

impl Sizes {
    /// Frames of one length.
    pub fn one(size: u16) -> Self {
        Self(vec![(size, 1)])
    }

    /// 7 of 64, 4 of 570, 1 of 1518 bytes with FCS: the mix that most testers call IMIX (RFC 6985 §4).
    pub fn imix() -> Self {
        Self(vec![(60, 7), (566, 4), (1514, 1)])
    }

    /// The lengths.
    pub fn each(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().map(|(size, _)| *size)
    }

    /// Their mean.
    pub fn mean(&self) -> f64 {
        let (mut bytes, mut frames) = (0.0, 0.0);
        for (size, weight) in &self.0 {
            bytes += f64::from(*size) * f64::from(*weight);
            frames += f64::from(*weight);
        }
        bytes / frames
    }

    /// One round of the mix, as indexes of [`Self::each`]: each as evenly spread as can be.
    pub fn round(&self) -> Vec<u16> {
        let total: i64 = self.0.iter().map(|(_, weight)| i64::from(*weight)).sum();
        let mut credit = vec![0_i64; self.0.len()];
        let mut round = Vec::new();
        for _ in 0..total {
            credit.iter_mut().zip(&self.0).for_each(|(credit, (_, weight))| *credit += i64::from(*weight));
            let most = (0..credit.len()).max_by_key(|at| credit[*at]).unwrap_or(0);
            credit[most] -= total;
            round.push(most as u16);
        }
        round
    }
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("imix") {
            return Ok(Self::imix());
        }
        let part = |part: &str| {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            let size = size.parse::<u16>().ok().filter(|size| *size >= SHORTEST);
            let weight = weight.parse::<u32>().ok().filter(|weight| (1..=10_000).contains(weight));
            size.zip(weight).ok_or_else(|| {
                format!(
                    "`{part}` is no frame length: give bytes without FCS from {SHORTEST} (64 on the wire), \
                     `imix`, or a mix like 60:7,566:4,1514:1"
                )
            })
        };
        Ok(Self(text.split(',').map(part).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::imix() {
            return f.write_str("imix");
        }
        for (at, (size, weight)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            if self.0.len() == 1 { write!(f, "{size}")? } else { write!(f, "{comma}{size}:{weight}")? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_has_its_shares_and_is_spread() {
        let imix: Sizes = "IMIX".parse().unwrap();
        let round = imix.round();
        let count = |which| round.iter().filter(|at| **at == which).count();
        assert_eq!((round.len(), count(0), count(1), count(2)), (12, 7, 4, 1));
        assert!(round.windows(3).all(|three| three != [0, 0, 0]), "{round:?}");
        assert!((imix.mean() - 349.83).abs() < 0.01);
        assert_eq!("60:7,566:4,1514:1".parse::<Sizes>().unwrap().to_string(), "imix");
        assert_eq!("1514".parse::<Sizes>().unwrap().to_string(), "1514");
    }

    #[test]
    fn what_is_no_length_is_refused_with_what_is_one() {
        for bad in ["", "59", "x", "60:0", "60,", "70000", "60:7;80"] {
            let error = bad.parse::<Sizes>().unwrap_err();
            assert!(error.contains("without FCS"), "{bad}: {error}");
        }
    }
}
