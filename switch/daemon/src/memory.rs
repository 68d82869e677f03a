//! Frame memory as the control side sees it: what there is of it, and for how many ports it does.
//!
//! Ports of kind `tap` and `packet` keep none: a thread lends its chunks to whichever queue it reads from. An AF_XDP socket
//! keeps chunks for the kernel to receive into, and the more sockets there are, the fewer each may keep.

use weft_ctl_api::{Code, Error};
use weft_pmd::{FillShare, FramePool, Memory, PoolSize};

/// The chunks of each size, and the word for it.
pub fn pools(memory: &Memory) -> [(&'static str, PoolSize); 2] {
    let [small, large] = memory.pools();
    [("small", small), ("large", large)]
}

/// Whether all AF_XDP sockets, with those that were opened just now, get enough to receive anything. The error says how much
/// memory would do.
pub fn admit(share: FillShare) -> Result<(), Error> {
    if share.chunks >= FillShare::LEAST {
        return Ok(());
    }
    let FillShare { sockets, chunks } = share;
    let message = format!(
        "frame memory does not do for {sockets} queues of kind xsk: {chunks} receive buffers each, {} or more are needed",
        FillShare::LEAST
    );
    let (least, usual) = (needed_mib(sockets, FillShare::LEAST), needed_mib(sockets, FillShare::USUAL));
    let remedy = format!(
        "set pmd.memory_mib to {least} or more (better {usual}) and restart weftd, or use kind packet, whose ports keep none"
    );
    Err(Error::new(Code::Unavailable, message).remedy(remedy))
}

/// What to say where they get something, but fewer than a socket usually has.
pub fn scarce(share: FillShare) -> Option<String> {
    let FillShare { sockets, chunks } = share;
    (chunks < FillShare::USUAL).then(|| {
        format!(
            "frame memory is scarce: {sockets} queues of kind xsk have {chunks} receive buffers each, and lose what comes at \
             once beyond that; pmd.memory_mib = {} gives each {}",
            needed_mib(sockets, FillShare::USUAL),
            FillShare::USUAL
        )
    })
}

/// What to say where what PMD threads keep at hand leaves little of some size of chunk to the others.
pub fn hoarded(pools: [(&str, PoolSize); 2], threads: usize) -> Option<String> {
    let scarce = |((size, pool), at_hand): ((&str, PoolSize), usize)| {
        let kept = threads * at_hand;
        // Of the memory, three quarters are small chunks and one is large ones.
        let part = if size == "small" { 3 } else { 1 };
        let mib = (kept * pool.chunk_bytes * 4 * 4).div_ceil((3 * part) << 20);
        (kept * 4 > pool.total * 3).then(|| {
            format!(
                "frame memory is scarce: {threads} PMD threads may keep {kept} of {} {size} chunks at hand; \
                 pmd.memory_mib = {mib} leaves enough",
                pool.total
            )
        })
    };
    pools.into_iter().zip(FramePool::AT_HAND).filter_map(scarce).next_back()
}

fn needed_mib(sockets: u32, chunks: u32) -> usize {
    FillShare::memory_mib(sockets, chunks)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the remedy names is enough, and not much more than is needed.
    #[test]
    fn the_memory_that_is_named_would_do() {
        for sockets in [1, 13, 100] {
            for chunks in [FillShare::LEAST, FillShare::USUAL] {
                let mib = FillShare::memory_mib(sockets, chunks).max(8);
                let small = |mib: usize| {
                    let memory = Memory::new(mib).expect("memory");
                    memory.pools()[0].total as u32
                };
                assert!(small(mib) / 2 / sockets >= chunks, "{sockets} × {chunks}: {mib} MiB");
                assert!(
                    mib == 8 || small(mib * 9 / 10) / 2 / sockets < chunks,
                    "{sockets} × {chunks}: {mib} MiB"
                );
            }
        }
    }

    /// A thread's stock is no reason to say anything in the least memory, nor are thirty in what is the default.
    #[test]
    fn threads_that_take_all_there_is_are_told() {
        let told = |mib: usize, threads: usize| {
            let memory = Memory::new(mib).expect("memory");
            hoarded(pools(&memory), threads)
        };
        assert_eq!((told(8, 1), told(256, 30)), (None, None));
        let text = told(256, 64).expect("it is told");
        assert!(text.contains("64 PMD threads may keep 1024 of 963 large chunks"), "{text}");
        assert!(text.contains("memory_mib = 363"), "{text}");
        assert_eq!(told(363, 64), None);
    }

    #[test]
    fn too_many_sockets_are_refused_and_many_are_told() {
        let enough = FillShare { sockets: 10, chunks: FillShare::USUAL };
        assert!(admit(enough).is_ok() && scarce(enough).is_none());
        let few = FillShare { sockets: 100, chunks: 250 };
        let told = scarce(few).expect("it is told");
        assert!(
            admit(few).is_ok() && told.contains("250 receive buffers") && told.contains("memory_mib = 534"),
            "{told}"
        );
        let error = admit(FillShare { sockets: 1000, chunks: 24 }).expect_err("it is refused");
        assert!(
            error.message.contains("1000 queues")
                && error.remedy.is_some_and(|it| it.contains("memory_mib to 334"))
        );
    }
}
