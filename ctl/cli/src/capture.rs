//! `weftctl capture`: packets of a port, or dropped ones, as pcapng or in lines.

mod line;
mod pcapng;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufReader, BufWriter, Write},
    net::Shutdown,
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::exit,
    thread,
    time::Duration,
};

use clap::Args;
use weft_ctl_api::{
    capture::{Capture, CaptureStarted, Direction, End, Head, Item, Note, Verdict},
    client::ClientError,
};

use crate::{
    Session, filter,
    stay::{self, Cause, Ending},
    tell,
};

/// Capture packets: at a port or pod as received and as sent, or where they are dropped.
#[derive(Debug, Args)]
#[command(
    after_help = "A line a packet, or pcapng with -w: each packet's verdict, reason and configuration generation are its \
                  comment, its port is its interface. What comes in is shown as received, what goes out as sent; \
                  super-frames of 64 KiB (GSO) are whole. A port pays for the filter while it is captured; a reader \
                  that is too slow loses packets, and is told how many.\n\n\
                  Examples:\n  weftctl capture web-1 tcp port 80\n  \
                  weftctl capture default/web-1 -c 10 --direction in\n  \
                  weftctl capture drops\n  weftctl capture drops --at web-1 'src net 10.244.0.0/16'\n  \
                  weftctl capture any -w all.pcapng --duration 10\n  weftctl capture web-1 -w - | tcpdump -n -r -\n  \
                  weftctl capture web-1 -w - | wireshark -k -i -"
)]
pub(crate) struct CaptureArgs {
    /// A port, a pod (endpoint), `any` (every port) or `drops`.
    target: String,
    /// tcpdump's filter words (pcap-filter(7)): only packets they say yes to.
    filter: Vec<String>,
    /// Write pcapng to a file, or `-`, standard output.
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// End after so many packets.
    #[arg(short, long, value_name = "PACKETS", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<Duration>,
    /// Bytes of each packet; 0: all.
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    snaplen: u32,
    /// Only what comes in (`in`), only what goes out (`out`), or `both`.
    #[arg(long, value_enum, default_value_t, hide_possible_values = true)]
    direction: Direction,
    /// Only drops at this port or pod.
    #[arg(long, value_name = "PORT")]
    at: Option<String>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "use a number of seconds above 0".into())
}

/// Where packets go.
enum Output {
    Pcapng(pcapng::Writer<Box<dyn Write>>),
    Lines(BufWriter<io::Stdout>),
    Json(BufWriter<io::Stdout>),
}

/// What packets' numbers mean.
#[derive(Default)]
struct Dictionary {
    ports: HashMap<u32, String>,
    verdicts: HashMap<u32, Verdict>,
}

impl Dictionary {
    fn port(&self, id: u32) -> &str {
        self.ports.get(&id).map_or("?", String::as_str)
    }

    fn verdict(&self, id: u32) -> Option<&Verdict> {
        self.verdicts.get(&id)
    }
}

impl CaptureArgs {
    /// Captures until told to end.
    pub(crate) fn run(self, session: &mut Session) -> Result<(), ClientError> {
        let filter = filter::compile(&self.filter).unwrap_or_else(|problem| fail(2, &problem));
        let text = filter.as_ref().map(|filter| filter.text.clone());
        let call = Capture {
            target: self.target.clone(),
            at: self.at.clone(),
            direction: self.direction,
            filter,
            snaplen: self.snaplen,
        };
        let (started, stream) = session.client.stream(&call)?;
        let output = self.output(session.json, &started, text.clone()).unwrap_or_else(|error| {
            let path = self.write.as_deref().unwrap_or("standard output".as_ref());
            fail(1, &format!("{}: {error}", path.display()))
        });
        self.end_by(session, &stream)?;
        let filter = text.map(|text| format!(" ({text})")).unwrap_or_default();
        tell(&format!("capturing {}{filter}; Ctrl-C ends it", started.what));
        let (captured, end) = pump(stream, output, self.count)?;
        let End { matched, lost, why } = end.unwrap_or_else(|| {
            session.exit = stay::Cause::WeftdGone.code();
            End { matched: captured, why: Some("weftd has ended".into()), ..End::default() }
        });
        let why = why.map(|why| format!("; it ended because {why}")).unwrap_or_default();
        tell(&format!("{captured} packets captured, {matched} matched, {lost} lost{why}"));
        Ok(())
    }

    /// Ctrl-C, and the time when it is over, close our half of the connection: weftd sends what there is, and the end. A second
    /// Ctrl-C ends at once.
    fn end_by(&self, session: &Session, stream: &UnixStream) -> io::Result<()> {
        /// weftd sends what it has, and it is written: after Ctrl-C there is time for it,
        const FINISH: Duration = Duration::from_secs(5);
        /// after what is no wish to see the rest there is less.
        const HASTE: Duration = Duration::from_millis(700);
        let (socket, to_output) =
            (stream.try_clone()?, self.write.as_ref().is_none_or(|to| to == Path::new("-")));
        let ask = move |cause| {
            let _ = socket.shutdown(Shutdown::Write); // weftd may have closed the other half
            if cause == Cause::INTERRUPT { FINISH } else { HASTE }
        };
        let ordinary = Some(Cause::INTERRUPT);
        stay::begin(session, Ending { to_output, ordinary, ask: Box::new(ask), ..Ending::default() })?;
        if let Some(duration) = self.duration {
            let socket = stream.try_clone()?;
            thread::spawn(move || {
                thread::sleep(duration);
                let _ = socket.shutdown(Shutdown::Write);
            });
        }
        Ok(())
    }

    fn output(&self, json: bool, started: &CaptureStarted, filter: Option<String>) -> io::Result<Output> {
        let to: Box<dyn Write> = match &self.write {
            None if json => return Ok(Output::Json(BufWriter::new(io::stdout()))),
            None => return Ok(Output::Lines(BufWriter::new(io::stdout()))),
            Some(path) if path.as_os_str() == "-" => Box::new(BufWriter::new(io::stdout())),
            Some(path) => {
                // What pods say to each other is for whoever captures it alone.
                let mut options = File::options();
                options.write(true).create(true).truncate(true).mode(0o600);
                Box::new(BufWriter::new(options.open(path)?))
            }
        };
        Ok(Output::Pcapng(pcapng::Writer::new(to, started, filter, self.snaplen)?))
    }
}

/// Says what is wrong, and ends.
pub(crate) fn fail(code: i32, problem: &str) -> ! {
    tell(&format!("weftctl: {problem}"));
    exit(code)
}

/// Writes what comes. Returns how many packets that were, and what weftd says at the end, if it comes to that.
fn pump(
    stream: UnixStream,
    mut output: Output,
    count: Option<u64>,
) -> Result<(u64, Option<End>), ClientError> {
    /// Bytes: some blocks of weftd's.
    const BUFFER: usize = 1 << 20;
    let mut stream = BufReader::with_capacity(BUFFER, stream);
    let mut dictionary = Dictionary::default();
    let (mut captured, mut end) = (0, None);
    let mut is_done = false;
    loop {
        // Whoever waits for the next packet wants to see the last.
        if stream.buffer().is_empty() && gone(output.flush())? {
            break;
        }
        let Some(item) = Item::read(&mut stream)? else { break };
        let outcome = match item {
            Item::Note(Note::End(said)) => {
                end = Some(said);
                break;
            }
            Item::Note(Note::Port { id, name }) => {
                let outcome = output.port(&name);
                dictionary.ports.insert(id, name);
                outcome
            }
            Item::Note(Note::Verdict { id, verdict }) => {
                dictionary.verdicts.insert(id, verdict);
                Ok(())
            }
            Item::Packet(..) if is_done => Ok(()),
            Item::Packet(head, bytes) => {
                captured += 1;
                output.packet(&head, bytes, &dictionary)
            }
        };
        if gone(outcome)? {
            break;
        }
        if !is_done && count.is_some_and(|count| captured >= count) {
            is_done = true;
            let _ = stream.get_ref().shutdown(Shutdown::Write);
        }
    }
    gone(output.end(end.as_ref()))?;
    Ok((captured, end))
}

/// A reader that has seen enough (`| head`) is no error of ours.
fn gone(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Err(error) => stay::gone(&error).map(stay::note).map(|()| true).ok_or(error),
        Ok(()) => Ok(false),
    }
}

impl Output {
    fn port(&mut self, name: &str) -> io::Result<()> {
        match self {
            Self::Pcapng(writer) => writer.interface(name),
            Self::Lines(_) | Self::Json(_) => Ok(()),
        }
    }

    fn packet(&mut self, head: &Head, bytes: Vec<u8>, dictionary: &Dictionary) -> io::Result<()> {
        let verdict = dictionary.verdict(head.verdict);
        match self {
            Self::Pcapng(writer) => writer.packet(head, bytes, verdict),
            Self::Lines(out) => {
                writeln!(out, "{}", line::text(head, &bytes, dictionary.port(head.port), verdict))
            }
            Self::Json(out) => {
                writeln!(out, "{}", line::json(head, &bytes, dictionary.port(head.port), verdict))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Pcapng(writer) => writer.flush(),
            Self::Lines(out) | Self::Json(out) => out.flush(),
        }
    }

    fn end(&mut self, end: Option<&End>) -> io::Result<()> {
        if let Self::Pcapng(writer) = self {
            writer.statistics(end)?;
        }
        self.flush()
    }
}
