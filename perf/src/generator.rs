//! An AF_XDP generator on xsk-rs: UDP frames of one flow or many, as fast as the device takes them.
#![expect(unsafe_code, reason = "xsk-rs leaves it to its callers that a frame is in one place at a time")]

use std::{
    io::{self, Write},
    num::NonZeroU32,
    time::{Duration, Instant},
};

use weft_pmd::{Burst, FramePool, Memory, PortQueue, port::gen_udp};
use xsk_rs::{
    Socket, Umem,
    config::{Interface, SocketConfig, UmemConfig},
};

/// Sends for a while by queue 0 of a device of this namespace; returns frames a second that the device took.
pub fn run(device: &str, spec: &gen_udp::Spec, time: Duration) -> io::Result<f64> {
    const FRAMES: NonZeroU32 = NonZeroU32::new(2048).expect("not zero");
    const BATCH: usize = 64;
    let interface: Interface =
        device.parse().map_err(|_| io::Error::other(format!("{device} can't be a device")))?;
    let (umem, mut free) = Umem::new(UmemConfig::default(), FRAMES, false).map_err(io::Error::other)?;
    // SAFETY: the one socket of this UMEM.
    let (mut tx, _rx, rings) =
        unsafe { Socket::new(SocketConfig::default(), &umem, &interface, 0) }.map_err(io::Error::other)?;
    let (_fill, mut completion) =
        rings.ok_or_else(|| io::Error::other("the socket has no completion ring"))?;
    for (desc, packet) in free.iter_mut().zip(packets(spec, FRAMES.get() as usize)?) {
        // SAFETY: no frame has been given to the kernel yet.
        unsafe { umem.data_mut(desc) }.cursor().write_all(&packet)?;
    }
    let (began, mut sent) = (Instant::now(), 0_u64);
    let mut done = free.clone();
    while began.elapsed() < time {
        let batch = free.len().min(BATCH);
        let at = free.len() - batch;
        // SAFETY: these frames are in `free`, so in no ring.
        let taken = unsafe { tx.produce(&free[at..]) };
        free.drain(at..at + taken);
        tx.wakeup()?;
        // SAFETY: the descriptors written to are scratch.
        let completed = unsafe { completion.consume(&mut done) };
        sent += completed as u64;
        free.extend_from_slice(&done[..completed]);
    }
    Ok(sent as f64 / began.elapsed().as_secs_f64())
}

/// The first packets of the in-memory generator's stream.
fn packets(spec: &gen_udp::Spec, count: usize) -> io::Result<Vec<Vec<u8>>> {
    let mut pool = FramePool::new(Memory::heap(256, 1).map_err(io::Error::other)?);
    let mut queue = gen_udp::open(spec).map_err(io::Error::other)?.queues.remove(0);
    let mut packets = Vec::with_capacity(count);
    while packets.len() < count {
        let mut burst = Burst::new();
        queue.rx(&mut pool, &mut burst).map_err(io::Error::other)?;
        packets.extend(burst.as_slice().iter().map(|frame| pool.bytes(frame).to_vec()));
        burst.free_all(&mut pool);
    }
    Ok(packets)
}
