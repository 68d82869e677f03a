//! Huge pages for DPDK while a benchmark runs.

use std::{fs, path::Path};

use crate::lab::Error;

const SYSCTL: &str = "/proc/sys/vm/nr_hugepages";
/// 2 GiB of 2 MiB pages: Open vSwitch's one pool of 262,144 buffers, and some.
const PAGES: u64 = 1024;

/// What DPDK's memory is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// 2 MiB pages.
    Huge,
    /// The processor's smallest.
    Small,
}

impl Pages {
    /// Words for DPDK's environment abstraction layer.
    pub fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Huge => &["--in-memory"],
            Self::Small => &["--legacy-mem", "--no-huge", "-m", "2048"],
        }
    }
}

/// The machine's number of huge pages, raised; as it was when dropped.
#[derive(Debug)]
pub struct Hugepages {
    before: Option<u64>,
    pages: Pages,
}

impl Hugepages {
    /// Raises it, if so many are not free; if the kernel has no memory for that, the pages are small.
    pub fn reserve(wanted: bool) -> Result<Self, Error> {
        if !wanted {
            return Ok(Self { before: None, pages: Pages::Small });
        }
        let free = || field("HugePages_Free:");
        if free() >= PAGES {
            return Ok(Self { before: None, pages: Pages::Huge });
        }
        let before = field("HugePages_Total:");
        let raised = before + PAGES - free();
        eprintln!("vm.nr_hugepages is {before}: {raised} while this runs (--small-pages leaves it)");
        let set = fs::write(SYSCTL, raised.to_string());
        let mut hugepages = Self { before: Some(before), pages: Pages::Huge };
        set.map_err(Error::file(Path::new(SYSCTL)))?;
        if free() < PAGES {
            eprintln!("the kernel has memory for {} huge pages only: the peers run on small pages", free());
            hugepages.pages = Pages::Small;
        }
        Ok(hugepages)
    }

    /// What there is.
    pub fn pages(&self) -> Pages {
        self.pages
    }
}

impl Drop for Hugepages {
    fn drop(&mut self) {
        let Some(before) = self.before else { return };
        if let Err(error) = fs::write(SYSCTL, before.to_string()) {
            eprintln!("vm.nr_hugepages could not be set back: sysctl vm.nr_hugepages={before} ({error})");
        }
    }
}

fn field(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or(0)
}
