//! Which flow's turn it is.

use std::str::FromStr;

use rand::{RngExt, SeedableRng, rngs::SmallRng};
use rand_distr::{Distribution, Zipf};

/// In which order flows come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pattern {
    /// One after the other.
    Sequential,
    /// Each as likely as any.
    Random,
    /// The k-th with a probability in proportion to k^-s: few flows have most of the traffic.
    Zipf(f64),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, exponent) = text.split_once(':').unwrap_or((text, "1"));
        let exponent = exponent.parse::<f64>().ok().filter(|s| (0.0..=10.0).contains(s));
        match (word, exponent) {
            ("sequential" | "fixed", Some(_)) => Ok(Self::Sequential),
            ("random", Some(_)) => Ok(Self::Random),
            ("zipf", Some(exponent)) => Ok(Self::Zipf(exponent)),
            _ => Err(format!(
                "`{text}` is no pattern: give sequential, random, zipf or zipf:EXPONENT (0 to 10)"
            )),
        }
    }
}

/// Draws flows of one thread: those whose number is `first`, `first + step` and so on. A flow is one thread's, so that its
/// frames keep their order.
#[derive(Debug, Clone)]
pub struct Picker {
    count: u32,
    first: u32,
    step: u32,
    order: Order,
}

#[derive(Debug, Clone)]
enum Order {
    Sequential(u32),
    Random(SmallRng),
    Drawn(SmallRng, Zipf<f64>),
}

impl Picker {
    /// Of `flows` in all, those of thread `thread` of `threads`. There must be one for each thread.
    pub fn new(pattern: Pattern, flows: u32, thread: u32, threads: u32, seed: u64) -> Self {
        let count = (flows - thread).div_ceil(threads);
        let random = SmallRng::seed_from_u64(seed.wrapping_add(u64::from(thread)));
        let order = match pattern {
            Pattern::Zipf(exponent) => match Zipf::new(f64::from(count), exponent) {
                Ok(zipf) => Order::Drawn(random, zipf),
                Err(_) => Order::Random(random),
            },
            Pattern::Random => Order::Random(random),
            Pattern::Sequential => Order::Sequential(0),
        };
        Self { count, first: thread, step: threads, order }
    }

    /// How many flows it draws from.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next: its place among this thread's, and its number among all.
    #[inline]
    pub fn draw(&mut self) -> (usize, u32) {
        let at = match &mut self.order {
            Order::Sequential(next) => {
                let at = *next;
                *next = if at + 1 == self.count { 0 } else { at + 1 };
                at
            }
            Order::Random(random) => random.random_range(0..self.count),
            Order::Drawn(random, zipf) => (zipf.sample(random) as u32).clamp(1, self.count) - 1,
        };
        (at as usize, self.first + at * self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(pattern: Pattern, flows: u32, thread: u32, threads: u32) -> Vec<u32> {
        let mut picker = Picker::new(pattern, flows, thread, threads, 1);
        (0..10_000).map(|_| picker.draw().1).collect()
    }

    #[test]
    fn threads_share_flows_without_overlap() {
        for pattern in [Pattern::Sequential, Pattern::Random, Pattern::Zipf(1.0)] {
            let [mut seen, threads] = [[false; 10].to_vec(), vec![false; 10]];
            for thread in 0..3 {
                for flow in drawn(pattern, 10, thread, 3) {
                    assert_eq!(flow % 3, thread);
                    seen[flow as usize] = true;
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{pattern:?}: {seen:?} {threads:?}");
        }
    }

    #[test]
    fn zipf_prefers_the_first_and_random_nobody() {
        let share = |pattern| drawn(pattern, 100, 0, 1).iter().filter(|flow| **flow == 0).count();
        let zipf = share(Pattern::Zipf(1.0)); // 1 / H(100) = 19 %
        assert!((1700..2200).contains(&zipf), "{zipf}");
        assert!((50..170).contains(&share(Pattern::Random)));
        assert_eq!(share(Pattern::Sequential), 100);
        assert_eq!(
            drawn(Pattern::Random, 100, 0, 1),
            drawn(Pattern::Random, 100, 0, 1),
            "a seed is a stream"
        );
    }

    #[test]
    fn patterns_are_read() {
        assert_eq!("zipf:1.2".parse(), Ok(Pattern::Zipf(1.2)));
        assert_eq!("fixed".parse(), Ok(Pattern::Sequential));
        assert!("pareto".parse::<Pattern>().unwrap_err().contains("zipf"));
        assert!("zipf:-1".parse::<Pattern>().is_err());
    }
}
