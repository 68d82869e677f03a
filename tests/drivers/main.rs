//! Drivers on the real kernel, without a switch: what they refuse and how they say so, that no chunk is lost. Needs root.

use std::{sync::Arc, time::Duration};

use weft_pmd::{
    Burst, ChunkClass, Csum, FramePool, Memory, PortQueue,
    netns::Netns,
    port::{Guard, Opened, Stack, Steer, keep, packet, tap, xsk},
};
use weft_tests::netns::{NetNs, require_root, veth};

fn xsk_spec(device: &str, netns: Option<Netns>) -> xsk::Spec {
    xsk::Spec {
        device: device.into(),
        netns,
        queues: xsk::Queues::All,
        mode: xsk::Mode::Auto,
        zerocopy: xsk::Zerocopy::Prefer,
        stack: Stack::Untaken,
        mtu: None,
    }
}

fn memory() -> Arc<Memory> {
    Memory::heap(16_384, 32).expect("memory")
}

/// Sends back whatever arrives, MACs swapped, for as long as asked; returns frames seen.
fn echo(opened: &mut Opened, pool: &mut FramePool, time: Duration) -> Vec<Csum> {
    let began = std::time::Instant::now();
    let (mut burst, mut seen) = (Burst::new(), Vec::new());
    while began.elapsed() < time {
        for queue in &mut opened.queues {
            queue.rx(pool, &mut burst).expect("the device is there");
            for frame in burst.as_mut_slice() {
                seen.push(frame.offload().csum);
                frame.set_csum(Csum::Complete);
                let bytes = pool.bytes_mut(frame);
                let (to, from) = bytes[..12].split_at_mut(6);
                to.swap_with_slice(from);
            }
            queue.tx(pool, &mut burst).expect("the device is there");
            burst.free_all(pool);
        }
    }
    seen
}

/// Closes everything; every chunk must come back.
fn close(opened: Opened, mut pool: FramePool, memory: &Arc<Memory>) {
    let Opened { mut queues, .. } = opened;
    queues.iter_mut().for_each(|queue| queue.close(&mut pool));
    drop((queues, pool));
    assert_eq!(memory.available(), memory.total(), "no chunk is lost");
}

#[test]
fn what_can_not_be_opened_says_why() {
    if !require_root() {
        return;
    }
    let (a, b) = (NetNs::new("a"), NetNs::new("b"));
    veth(&a, "v", &b, "eth0", 1);
    let memory = memory();
    let open = |device: &str| {
        xsk::open(&xsk_spec(device, Some(a.netns())), &memory).map(drop).map_err(|e| e.to_string())
    };
    let error = open("nope").expect_err("no such device");
    assert!(error.contains("device nope does not exist in /run/netns/"), "{error}");
    let missing = xsk::open(&xsk_spec("v", Some(Netns::Name("no-such".into()))), &memory).map(drop);
    assert!(missing.expect_err("no such namespace").to_string().contains("can't be entered"));
    let zerocopy = xsk::Spec { zerocopy: xsk::Zerocopy::Require, ..xsk_spec("v", Some(a.netns())) };
    let error = xsk::open(&zerocopy, &memory).map(drop).expect_err("veth has none").to_string();
    assert!(error.contains("zerocopy = \"prefer\""), "{error}");
    let queues = xsk::Spec { queues: xsk::Queues::List(vec![3]), ..xsk_spec("v", Some(a.netns())) };
    let error = xsk::open(&queues, &memory).map(drop).expect_err("one queue").to_string();
    assert!(error.contains("no receive queue 3: it has 1"), "{error}");

    let first = xsk::open(&xsk_spec("v", Some(a.netns())), &memory).expect("it opens");
    let error = open("v").expect_err("taken");
    assert!(error.contains("is attached to v already"), "{error}");
    drop(first);

    let spec = packet::Spec {
        device: "nope".into(),
        netns: Some(a.netns()),
        queues: 1,
        mtu: None,
        join: true,
        stack: Stack::Untaken,
    };
    assert!(
        packet::open(&spec).map(drop).expect_err("no such device").to_string().contains("does not exist")
    );
    let tap = tap::Spec { name: "a-name-far-too-long".into(), queues: 1, mtu: 1500, join: true };
    assert!(tap::open(&tap).is_err());
}

#[test]
fn native_and_generic_both_move_frames_and_lose_none() {
    if !require_root() {
        return;
    }
    for mode in [xsk::Mode::Native, xsk::Mode::Generic] {
        let (a, b) = (NetNs::new("a"), NetNs::new("b"));
        veth(&a, "v", &b, "eth0", 2);
        b.ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0"]);
        b.ip(&["neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0"]);
        let memory = memory();
        let mut pool = FramePool::new(memory.clone());
        let mut opened =
            xsk::open(&xsk::Spec { mode, ..xsk_spec("v", Some(a.netns())) }, &memory).expect("it opens");
        assert_eq!(opened.queues.len(), 2);
        assert_eq!(opened.info.mode.starts_with("native"), mode == xsk::Mode::Native, "{}", opened.info.mode);
        let ping = b.spawn(&["ping", "-c", "20", "-i", "0.01", "-W", "1", "10.0.0.2"]);
        let seen = echo(&mut opened, &mut pool, Duration::from_millis(600));
        drop(ping);
        assert!(seen.len() >= 20 && seen.iter().all(|csum| *csum == Csum::Unknown), "{} frames", seen.len());
        close(opened, pool, &memory);
    }
}

#[test]
fn frames_in_the_rings_come_back_when_a_device_vanishes() {
    if !require_root() {
        return;
    }
    let (a, b) = (NetNs::new("a"), NetNs::new("b"));
    veth(&a, "v", &b, "eth0", 1);
    veth(&a, "w", &b, "eth1", 1);
    let memory = memory();
    let mut pool = FramePool::new(memory.clone());
    let xsk = xsk::open(&xsk_spec("v", Some(a.netns())), &memory).expect("it opens");
    let packet = packet::Spec {
        device: "w".into(),
        netns: Some(a.netns()),
        queues: 1,
        mtu: None,
        join: true,
        stack: Stack::Untaken,
    };
    let packet = packet::open(&packet).expect("it opens");
    assert!(xsk.probe.check().is_ok() && packet.probe.check().is_ok());
    b.delete();
    std::thread::sleep(Duration::from_millis(200));
    for mut opened in [xsk, packet] {
        assert!(opened.probe.check().is_err());
        let mut burst = Burst::new();
        for _ in 0..3 {
            let frame = pool.alloc_copy(&[0x55; 100]).expect("memory");
            burst.push(frame).expect("room");
            let _ = opened.queues[0].tx(&mut pool, &mut burst);
            burst.free_all(&mut pool);
        }
        opened.queues[0].close(&mut pool);
    }
    drop(pool);
    assert_eq!(memory.available(), memory.total(), "no chunk is lost");
}

#[test]
fn a_steered_port_takes_only_what_it_is_told() {
    if !require_root() {
        return;
    }
    let (a, b) = (NetNs::new("a"), NetNs::new("b"));
    veth(&a, "v", &b, "eth0", 1);
    for (ns, device, own) in [(&a, "v", "1"), (&b, "eth0", "2")] {
        ns.ip(&["addr", "add", &format!("10.0.0.{own}/24"), "dev", device]);
        ns.ip(&["addr", "add", &format!("fd00::{own}/64"), "dev", device, "nodad"]);
    }
    b.ip(&["route", "add", "10.5.0.0/16", "via", "10.0.0.1"]);
    b.ip(&["-6", "route", "add", "fd05::/16", "via", "fd00::1"]);
    let memory = memory();
    let mut pool = FramePool::new(memory.clone());
    let mut opened =
        xsk::open(&xsk::Spec { stack: Stack::Unclaimed, ..xsk_spec("v", Some(a.netns())) }, &memory)
            .expect("it opens");
    let prefixes =
        |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a prefix")).collect::<Vec<_>>();
    opened.guard.steer(&Steer::Prefixes(prefixes(&["10.5.1.0/24", "fd05:1::/32"]))).expect("it steers");
    let count = |opened: &mut Opened, pool: &mut FramePool, to: &str| {
        let ping = b.spawn(&["ping", "-c", "3", "-i", "0.01", "-W", "1", to]);
        let seen = echo(opened, pool, Duration::from_millis(150)).len();
        drop(ping);
        seen
    };
    // The node's own: answered by its kernel, not seen here.
    b.must(&["ping", "-c", "2", "-i", "0.01", "-W", "1", "10.0.0.1"]);
    b.must(&["ping", "-c", "2", "-i", "0.01", "-W", "1", "fd00::1"]);
    assert_eq!(count(&mut opened, &mut pool, "10.5.2.1"), 0);
    assert!(count(&mut opened, &mut pool, "10.5.1.1") >= 3);
    assert!(count(&mut opened, &mut pool, "fd05:1::1") >= 3);
    opened.guard.steer(&Steer::Prefixes(prefixes(&["10.5.2.0/24"]))).expect("it steers");
    assert!(count(&mut opened, &mut pool, "10.5.2.1") >= 3);
    assert_eq!(count(&mut opened, &mut pool, "10.5.1.1"), 0);
    close(opened, pool, &memory);
}

#[test]
fn what_is_kept_from_the_stack_is_for_as_long_as_it_is_meant_to_be() {
    if !require_root() {
        return;
    }
    let (a, b) = (NetNs::new("a"), NetNs::new("b"));
    veth(&a, "v", &b, "eth0", 1);
    a.ip(&["addr", "add", "10.0.0.1/24", "dev", "v"]);
    b.ip(&["addr", "add", "10.0.0.2/24", "dev", "eth0"]);
    let (memory, netns) = (memory(), a.netns());
    let answers = || b.run(&["ping", "-c", "2", "-i", "0.01", "-W", "0.3", "10.0.0.1"]).status.success();
    assert!(answers());
    let open = |kind: &str, stack: Stack| match kind {
        "packet" => packet::open(&packet::Spec {
            device: "v".into(),
            netns: Some(a.netns()),
            queues: 1,
            mtu: None,
            join: true,
            stack,
        }),
        _ => xsk::open(&xsk::Spec { stack, ..xsk_spec("v", Some(a.netns())) }, &memory),
    };
    for kind in ["packet", "xsk"] {
        let mut pool = FramePool::new(memory.clone());
        let mut opened = open(kind, Stack::Nothing).expect("it opens");
        // The switch gets what the stack does not.
        let ping = b.spawn(&["ping", "-c", "3", "-i", "0.01", "-W", "1", "10.0.0.1"]);
        let seen = echo(&mut opened, &mut pool, Duration::from_millis(300)).len();
        drop(ping);
        assert!(seen >= 1 && !answers(), "{kind}: {seen}");
        close(opened, pool, &memory); // it was not told to stay
        assert!(answers(), "{kind}: the device is as it was");

        let mut opened = open(kind, Stack::Nothing).expect("it opens");
        opened.guard.keeper().expect("it is kept").stay();
        close(opened, FramePool::new(memory.clone()), &memory);
        assert!(!answers(), "{kind}: it stays");
        assert!(!keep::ensure("v", Some(&netns)).expect("the device"), "{kind}: it is there already");
        // One that finds it there leaves it there.
        close(open(kind, Stack::Nothing).expect("it opens"), FramePool::new(memory.clone()), &memory);
        assert!(!answers(), "{kind}: it was there before");
        assert!(keep::release("v", Some(&netns)).expect("the device"), "{kind}: it was kept");
        assert!(answers() && !keep::release("v", Some(&netns)).expect("the device"), "{kind}");

        // Of another role: the node has its device.
        assert!(keep::ensure("v", Some(&netns)).expect("the device"));
        let shared = open(kind, Stack::Unclaimed).expect("it opens");
        assert!(matches!(shared.guard, Guard::Claim(_) | Guard::Xsk(_, None)) && answers(), "{kind}");
        close(shared, FramePool::new(memory.clone()), &memory);
    }
    let mut opened = open("packet", Stack::Nothing).expect("it opens");
    let keeper = opened.guard.keeper().expect("it is kept");
    assert!(!keeper.renew().expect("the device"));
    a.must(&["tc", "filter", "del", "dev", "v", "ingress"]);
    assert!(keeper.renew().expect("the device"), "it is put back");
    assert!(a.must(&["tc", "filter", "show", "dev", "v", "ingress"]).contains("weft_keep"));
}

/// When large chunks are used up, what needs one is lost, and counted; small frames behind it still arrive.
#[test]
fn small_frames_pass_where_large_chunks_are_used_up() {
    if !require_root() {
        return;
    }
    let (a, b) = (NetNs::new("a"), NetNs::new("b"));
    veth(&a, "v", &b, "eth0", 1);
    a.ip(&["link", "set", "v", "mtu", "9000"]);
    b.ip(&["link", "set", "eth0", "mtu", "9000"]);
    b.ip(&["addr", "add", "10.0.0.1/24", "dev", "eth0"]);
    b.ip(&["neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:02", "dev", "eth0"]);
    let memory = Memory::heap(64, 1).expect("memory");
    let mut pool = FramePool::new(memory.clone());
    let spec = packet::Spec {
        device: "v".into(),
        netns: Some(a.netns()),
        queues: 1,
        mtu: None,
        join: true,
        stack: Stack::Untaken,
    };
    let mut opened = packet::open(&spec).expect("it opens");
    let mut pings = |pool: &mut FramePool| {
        for size in ["8000", "56"] {
            let _ = b.run(&["ping", "-c", "3", "-i", "0.01", "-W", "1", "-s", size, "10.0.0.2"]);
        }
        let (mut burst, mut lengths) = (Burst::new(), Vec::new());
        for _ in 0..20 {
            opened.queues[0].rx(pool, &mut burst).expect("the device is there");
            lengths.extend(burst.as_slice().iter().map(weft_pmd::Frame::len));
            burst.free_all(pool);
        }
        let count = |len: usize| lengths.iter().filter(|it| **it == len).count();
        (count(14 + 28 + 8000), count(14 + 28 + 56), opened.queues[0].lost())
    };
    let only = pool.alloc(ChunkClass::Large).expect("there is one");
    assert_eq!(pings(&mut pool), (0, 3, 3));
    pool.free(only);
    let (large, small, lost) = pings(&mut pool);
    assert!(
        large >= 1 && large as u64 + lost == 6 && small == 3,
        "{large} large, {small} small, {lost} lost"
    );
    close(opened, pool, &memory);
}
