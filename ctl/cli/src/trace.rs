//! `weftctl trace`: what becomes of a packet, and why.

use std::{fs, path::PathBuf, thread::sleep, time::Duration};

use clap::Args;
use pcap::{Capture, Linktype};
use weft_ctl_api::{
    Code, Error,
    client::ClientError,
    trace::{Trace, TraceLive, TraceNext, TracePacket},
};

use crate::{
    Session,
    capture::fail,
    filter, print_line,
    render::Render,
    stay::{self, Ending},
};

const HELP: &str = "\
A packet in words:
  [mac SRC > DST] [vlan ID] WHAT [ttl N] [dscp N] [df]
      [fragment OFFSET[+]] [size BYTES]
  WHAT is one of
      tcp SRC:PORT > DST:PORT [flags syn,ack]
      udp SRC:PORT > DST:PORT
      sctp SRC:PORT > DST:PORT
      icmp SRC > DST [echo | echo-reply | type N code N]
      icmp6 SRC > DST [echo | echo-reply | type N code N | solicit TARGET]
      ip PROTOCOL SRC > DST
      arp who-has TARGET tell SENDER
      arp reply SENDER to TARGET
      ethertype 0x88cc

IPv6 addresses with a port are in brackets; size is the frame's. What is left out is as whoever sends it would fill it in: \
MACs, flags syn, ttl 64. `weftctl drops --last` shows packets in the same words. Quote it: > is the shell's, too.

What another node sends (--from peer:NAME) comes in by the uplink, as that node sends it: inside its tunnel, where the \
fabric has tunnels. The packet is then the one inside, routed already by that node.

Asking about a packet sends, counts and learns nothing. It goes through the real path with the tables in force; a limit of \
new flows, full rings and full ports are not foreseen.

A live trace shows real packets as they were when they were decided; while it runs, its PMD threads look at every packet (of \
--from, if that is said). One runs at a time.

Examples:
  weftctl trace --from default/web-1 'tcp 10.244.0.5:33000 > 10.244.0.6:80'
  weftctl trace --from peer:node-b 'icmp 10.244.1.7 > 10.244.0.5'
  weftctl trace --from uplink --pcap in.pcap --frame 3
  weftctl trace --from default/web-1 --against new.toml \\
      'udp 10.244.0.5:1 > 10.244.0.6:53'
  weftctl trace --live -n 20 tcp port 80 and host 10.244.0.5";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct TraceArguments {
    /// The packet in words; with --live a filter in tcpdump's words (pcap-filter(7)).
    #[arg(value_name = "PACKET|FILTER", allow_hyphen_values = true)]
    words: Vec<String>,
    /// Where the packet comes from: an endpoint, a port, or peer:NAME, another node.
    #[arg(long, value_name = "ENDPOINT|PORT|peer:NAME", required_unless_present = "live")]
    from: Option<String>,
    /// The network that another node sends it in; unless given, its destination's.
    #[arg(long, value_name = "NAME", conflicts_with = "live")]
    network: Option<String>,
    /// A frame of a capture file instead of words.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["words", "hex", "live"])]
    pcap: Option<PathBuf>,
    /// Which frame of the file.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "pcap")]
    frame: usize,
    /// The frame's bytes instead of words, hexadecimal, from the Ethernet header on.
    #[arg(long, value_name = "BYTES", conflicts_with_all = ["words", "live"])]
    hex: Option<String>,
    /// Put the packet through this configuration, too, and show what is different (takes the role operate). Nothing is applied.
    #[arg(long, value_name = "FILE", conflicts_with = "live")]
    against: Option<PathBuf>,
    /// Trace the next packets that come.
    #[arg(long)]
    live: bool,
    /// Of the next packets, so many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, requires = "live")]
    count: usize,
    /// Wait for the next packets so long at most, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "live")]
    seconds: u64,
}

fn wrong(message: impl Into<String>) -> ClientError {
    Error::new(Code::Invalid, message).into()
}

/// Runs the verb.
pub(crate) fn trace(session: &mut Session, arguments: &TraceArguments) -> Result<(), ClientError> {
    if arguments.live {
        return live(session, arguments);
    }
    let against = arguments
        .against
        .as_ref()
        .map(|path| fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display()))));
    let call = Trace {
        from: arguments.from.clone().unwrap_or_default(),
        packet: packet(arguments)?,
        network: arguments.network.clone(),
        against: against.transpose()?,
    };
    session.show(&call)
}

fn packet(arguments: &TraceArguments) -> Result<TracePacket, ClientError> {
    if let Some(path) = &arguments.pcap {
        let bytes = frame(path, arguments.frame)?;
        return Ok(TracePacket::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()));
    }
    if let Some(hex) = &arguments.hex {
        return Ok(TracePacket::Hex(hex.clone()));
    }
    let text = arguments.words.join(" ");
    let packet = text.parse().map_err(|error| wrong(format!("`{text}`: {error}; see weftctl trace --help")));
    packet.map(TracePacket::Words)
}

/// Frame number `number` of a capture, from 1 on.
fn frame(path: &PathBuf, number: usize) -> Result<Vec<u8>, ClientError> {
    let failed = |error: pcap::Error| wrong(format!("{}: {error}", path.display()));
    let mut capture = Capture::from_file(path).map_err(failed)?;
    if capture.get_datalink() != Linktype::ETHERNET {
        return Err(wrong(format!("{}: its frames are not Ethernet's", path.display())));
    }
    for at in 1.. {
        match capture.next_packet() {
            Ok(packet) if at == number => return Ok(packet.data.to_vec()),
            Ok(_) => {}
            Err(pcap::Error::NoMorePackets) => {
                return Err(wrong(format!("{}: it has {} frames", path.display(), at - 1)));
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(wrong(format!("{}: it has no frame {number}", path.display())))
}

/// Prints the next packets as they come: each a block of text, or a line of JSON.
fn live(session: &mut Session, arguments: &TraceArguments) -> Result<(), ClientError> {
    /// How often weftd is asked what there is.
    const PAUSE: Duration = Duration::from_millis(100);
    let filter = filter::compile(&arguments.words).unwrap_or_else(|problem| fail(2, &problem));
    let TraceArguments { from, count, seconds, .. } = arguments;
    let call = TraceLive { from: from.clone(), filter, count: *count, seconds: *seconds };
    let id = session.client.call(&call)?.id;
    stay::begin(session, Ending::default())?;
    let mut seen = 0;
    loop {
        let reply = session.ask(&TraceNext { id })?;
        seen += reply.packets.len();
        for packet in &reply.packets {
            if session.json {
                print_line(&serde_json::to_string(packet).map_err(std::io::Error::other)?)?;
            } else {
                print_line(&format!("{}\n", packet.render()))?;
            }
        }
        if reply.ended && reply.packets.is_empty() {
            break;
        }
        sleep(PAUSE);
    }
    if seen == 0 && !session.json {
        print_line(&format!("no packet came within {seconds} s"))?;
    }
    Ok(())
}
