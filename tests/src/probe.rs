//! Traffic with a verdict: real kernels at both ends.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use weft_pmd::Netns;

use crate::netns::NetNs;

const PATIENCE: Duration = Duration::from_secs(10);

/// Pings; how many were answered.
pub fn ping(from: &NetNs, to: IpAddr, count: u32, size: u32) -> u32 {
    let text = ping_output(from, to, count, size);
    let received = text.split(" received").next().and_then(|head| head.rsplit(' ').next()).map(str::parse);
    received.and_then(Result::ok).unwrap_or(0)
}

fn ping_output(from: &NetNs, to: IpAddr, count: u32, size: u32) -> String {
    /// Seconds. Once an answer has come, ping(8) waits for the last no longer than this: a loaded machine may take its time. So
    /// all are sent at once.
    const INTERVAL: &str = "1";
    let family = if to.is_ipv4() { "-4" } else { "-6" };
    let (to, count, size) = (to.to_string(), count.to_string(), size.to_string());
    let sends = ["-c", &count, "-l", &count, "-i", INTERVAL, "-s", &size];
    let output = from.run(&[&["ping", family, "-n", "-W", "2"], &sends[..], &[&to]].concat());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Pings that must all be answered.
#[track_caller]
pub fn must_ping(from: &NetNs, to: IpAddr, size: u32) {
    let output = ping_output(from, to, 3, size);
    let is_whole = output.contains(" 3 received") && !output.contains("duplicates");
    assert!(is_whole, "{} → {to}, {size} bytes:\n{output}", from.name());
}

/// Bytes that no link produces by accident.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn any(family: IpAddr) -> SocketAddr {
    let any =
        if family.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(any, 0)
}

/// The client that comes; panics when none does, rather than waiting for ever.
fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    listener.set_nonblocking(true).expect("a socket");
    let end = Instant::now() + 2 * PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                stream.set_nonblocking(false).expect("a socket");
                return (stream, peer);
            }
            Err(error) => assert!(Instant::now() < end, "no client: {error}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Sends `len` random bytes over TCP and back; panics unless both ends got what was sent. The server sees the client's
/// own address, which is returned.
#[track_caller]
pub fn tcp_round_trip(client: &Netns, server: &Netns, to: IpAddr, len: usize) -> IpAddr {
    let listener = server.run(|| TcpListener::bind(any(to))).expect("namespace").expect("listen");
    let port = listener.local_addr().expect("bound").port();
    let sent = noise(len, len as u64 + 77);
    thread::scope(|scope| {
        let serving = scope.spawn(move || {
            // As long as the client tries, and a little more.
            let (mut stream, peer) = accept(&listener);
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut received = Vec::new();
            stream.read_to_end(&mut received).expect("the server reads to the end");
            stream.write_all(&received).expect("the server echoes");
            (received, peer.ip())
        });
        let echoed = client
            .run(|| {
                let address = SocketAddr::new(to, port);
                let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.write_all(&sent)?;
                stream.shutdown(Shutdown::Write)?;
                let mut echoed = Vec::new();
                stream.read_to_end(&mut echoed)?;
                std::io::Result::Ok(echoed)
            })
            .expect("namespace")
            .unwrap_or_else(|error| panic!("TCP to {to}: {error}"));
        let (received, peer) = serving.join().expect("the server ends");
        assert!(received == sent, "the server got {} of {} bytes as sent", received.len(), sent.len());
        assert!(echoed == sent, "the client got {} of {} bytes back as sent", echoed.len(), sent.len());
        peer
    })
}

/// Sends UDP datagrams of these sizes and back; panics unless each comes back as it was.
#[track_caller]
pub fn udp_round_trip(client: &Netns, server: &Netns, to: IpAddr, sizes: &[usize]) {
    let bind = |netns: &Netns| {
        let socket = netns.run(|| UdpSocket::bind(any(to))).expect("namespace").expect("bind");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    };
    let (receiver, sender) = (bind(server), bind(client));
    let port = receiver.local_addr().expect("bound").port();
    let mut buffer = vec![0; 65_536];
    for &size in sizes {
        let sent = noise(size, size as u64);
        sender
            .send_to(&sent, SocketAddr::new(to, port))
            .unwrap_or_else(|error| panic!("{size} bytes to {to}: {error}"));
        let (len, peer) =
            receiver.recv_from(&mut buffer).unwrap_or_else(|error| panic!("{size} bytes to {to}: {error}"));
        assert!(buffer[..len] == sent[..], "{size} bytes to {to} came as {len} others");
        receiver.send_to(&buffer[..len], peer).expect("echo");
        let (len, _) = sender
            .recv_from(&mut buffer)
            .unwrap_or_else(|error| panic!("{size} bytes back from {to}: {error}"));
        assert!(buffer[..len] == sent[..], "{size} bytes back from {to} came as {len} others");
    }
}

/// Packets that a namespace's kernel threw away for a wrong checksum, all protocols.
pub fn checksum_errors(ns: &NetNs) -> u64 {
    let v4 = ns.must(&["cat", "/proc/net/snmp"]);
    let v6 = ns.must(&["cat", "/proc/net/snmp6"]);
    let lines: Vec<&str> = v4.lines().collect();
    let of_v4: u64 = lines
        .chunks(2)
        .filter(|pair| pair.len() == 2)
        .flat_map(|pair| pair[0].split_whitespace().zip(pair[1].split_whitespace()))
        .filter(|(name, _)| *name == "InCsumErrors")
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum();
    let of_v6: u64 = v6
        .lines()
        .filter(|line| line.contains("InCsumErrors"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    of_v4 + of_v6
}

/// A TCP stream by iperf3 for some seconds; Gb/s at the receiver.
pub fn iperf3(client: &NetNs, server: &NetNs, to: IpAddr, seconds: u32) -> f64 {
    let serving = server.spawn(&["iperf3", "-s", "-1", "-p", "5999"]);
    let (to, seconds) = (to.to_string(), seconds.to_string());
    for _ in 0..50 {
        let output = client.run(&["iperf3", "-J", "-c", &to, "-p", "5999", "-t", &seconds]);
        let report: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
        let rate = report.and_then(|report| report["end"]["sum_received"]["bits_per_second"].as_f64());
        if let Some(rate) = rate {
            drop(serving);
            return rate / 1e9;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("iperf3 to {to} does not connect");
}

/// Datagrams that go to and fro without pause, a couple of milliseconds apart, until stopped.
#[derive(Debug)]
pub struct Steady {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
    sender: Option<JoinHandle<(u32, u32)>>,
    echo: Option<JoinHandle<()>>,
}

impl Steady {
    /// Begins, once a first datagram has come back.
    #[track_caller]
    pub fn start(from: &NetNs, to: &NetNs, address: IpAddr) -> Self {
        const PAUSE: Duration = Duration::from_millis(2);
        let bind = |ns: &NetNs| {
            let socket = ns.netns().run(|| UdpSocket::bind(any(address))).expect("namespace").expect("bind");
            socket.set_read_timeout(Some(PAUSE)).expect("a timeout");
            socket
        };
        udp_round_trip(&from.netns(), &to.netns(), address, &[1]);
        let (receiver, socket) = (bind(to), bind(from));
        let target = SocketAddr::new(address, receiver.local_addr().expect("bound").port());
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ended = done.clone();
        let echo = thread::spawn(move || {
            let mut buffer = [0; 64];
            while !ended.load(Ordering::Acquire) {
                if let Ok((len, peer)) = receiver.recv_from(&mut buffer) {
                    let _ = receiver.send_to(&buffer[..len], peer); // what is lost shows at the sender
                }
            }
        });
        let stopped = stop.clone();
        let sender = thread::spawn(move || {
            let (mut sent, mut received, mut buffer) = (0_u32, 0, [0; 64]);
            let mut last = Instant::now();
            // After the last is sent, what is on its way has a second to arrive.
            while !stopped.load(Ordering::Acquire)
                || (received < sent && last.elapsed() < Duration::from_secs(1))
            {
                if !stopped.load(Ordering::Acquire) {
                    sent += u32::from(socket.send_to(&sent.to_be_bytes(), target).is_ok());
                    last = Instant::now();
                }
                received += u32::from(socket.recv(&mut buffer).is_ok());
            }
            (sent, received)
        });
        Self { stop, done, sender: Some(sender), echo: Some(echo) }
    }

    /// Ends; datagrams sent, and those that came back.
    pub fn stop(mut self) -> (u32, u32) {
        self.stop.store(true, Ordering::Release);
        let counts = self.sender.take().map(|sender| sender.join().expect("the sender ends"));
        counts.unwrap_or_default()
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.done.store(true, Ordering::Release);
        let _ = self.sender.take().map(JoinHandle::join);
        let _ = self.echo.take().map(JoinHandle::join);
    }
}

/// What became of a stream of numbered datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered {
    /// Datagrams sent.
    pub sent: u32,
    /// Of these, those that arrived.
    pub received: u32,
    /// Of these, those that came behind a later one.
    pub overtaken: u32,
}

/// Sends numbered datagrams one way, some ten thousand a second, for as long as `during` takes.
#[track_caller]
pub fn numbered(from: &NetNs, to: &NetNs, address: IpAddr, during: impl FnOnce()) -> Numbered {
    const PAUSE: Duration = Duration::from_micros(100);
    const AT_ONCE: usize = 6;
    udp_round_trip(&from.netns(), &to.netns(), address, &[1]);
    let bind =
        |ns: &NetNs| ns.netns().run(|| UdpSocket::bind(any(address))).expect("namespace").expect("bind");
    let (receiver, sender) = (bind(to), bind(from));
    receiver.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
    let target = SocketAddr::new(address, receiver.local_addr().expect("bound").port());
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let receiving = scope.spawn(move || {
            let (mut received, mut overtaken, mut next, mut buffer) = (0, 0, 0, [0; 4]);
            // Ends when nothing has come for a second.
            while let Ok(4) = receiver.recv(&mut buffer) {
                let number = u32::from_be_bytes(buffer);
                received += 1;
                overtaken += u32::from(number < next);
                next = next.max(number + 1);
            }
            (received, overtaken)
        });
        let sending = scope.spawn(|| {
            let mut sent = 0_u32;
            while !stop.load(Ordering::Acquire) {
                for _ in 0..AT_ONCE {
                    sent += u32::from(sender.send_to(&sent.to_be_bytes(), target).is_ok());
                }
                thread::sleep(PAUSE);
            }
            sent
        });
        during();
        stop.store(true, Ordering::Release);
        let sent = sending.join().expect("the sender ends");
        let (received, overtaken) = receiving.join().expect("the receiver ends");
        Numbered { sent, received, overtaken }
    })
}
