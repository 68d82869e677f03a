//! The Unix socket.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crossbeam::channel::Sender;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
    time::timeout,
};
use weft_ctl_api::{
    Code, Error,
    codec::{self, PREFIX, REPLY_MAX, REQUEST_MAX, Reply, Request},
};

use crate::event::Event;

/// Clients at once; one more waits.
const CLIENTS_MAX: usize = 64;
/// A client that begins a message ends it within this time, and reads its answer within it.
const PATIENCE: Duration = Duration::from_secs(5);
/// A client may stay connected without a word for so long.
const IDLE: Duration = Duration::from_secs(300);

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another weftd.
    #[error("node.control: another weftd listens on {}; stop it, or name another path", .0.display())]
    InUse(PathBuf),
    /// No such group.
    #[error("node.control_group: there is no group \"{0}\"; name one of /etc/group")]
    NoGroup(String),
    /// The kernel would not.
    #[error("node.control: {}: {source}; name a path in a directory that weftd may write to", .path.display())]
    Io {
        /// The socket's path.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// The listening socket; its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    group: Option<u32>,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // gone already: just as well
    }
}

impl ControlSocket {
    /// Listens: mode 0600, or 0660 for a group.
    pub fn bind(path: &Path, group: Option<&str>) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io { path: path.to_owned(), source };
        let group = group
            .map(|name| group_id(name).ok_or_else(|| SocketError::NoGroup(name.to_owned())))
            .transpose()?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        // What a weftd that was killed left behind.
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
        }
        Ok(Self { listener, path: path.to_owned(), group })
    }

    /// Serves clients until the task is dropped.
    pub async fn serve(&self, events: Sender<Event>) {
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(permit) = clients.clone().acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let (events, group) = (events.clone(), self.group);
                    tokio::spawn(async move {
                        // A client that broke off or hung has lost its connection; nobody else cares.
                        let _ = attend(stream, group, events).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn group_id(name: &str) -> Option<u32> {
    let groups = fs::read_to_string("/etc/group").ok()?;
    let mut lines = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name)).and_then(|fields| fields.get(2)?.parse().ok())
}

async fn attend(mut stream: UnixStream, group: Option<u32>, events: Sender<Event>) -> io::Result<()> {
    // SO_PEERCRED: who connected, whatever the file's mode was made to by others since.
    let peer = stream.peer_cred()?;
    let own = fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta)).unwrap_or(0);
    let may = peer.uid() == 0 || peer.uid() == own || group.is_some();
    if !may {
        // Hear it out, so that the answer is not lost with the connection.
        let _ = read(&mut stream).await;
        let error = Error::new(Code::Forbidden, format!("user {} may not control weftd", peer.uid()))
            .remedy("be root, or set node.control_group");
        return answer(&mut stream, Reply::Error(error)).await;
    }
    let who = format!("uid {}", peer.uid());
    loop {
        let request = match timeout(IDLE, read(&mut stream)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return answer(&mut stream, Reply::Error(error)).await,
        };
        let outcome = match codec::check_version(&request) {
            Ok(()) => ask(&events, request, &who).await,
            Err(error) => Err(error),
        };
        answer(&mut stream, outcome.map_or_else(Reply::Error, Reply::Ok)).await?;
    }
}

/// Reads one request; none: the client has gone.
async fn read(stream: &mut UnixStream) -> Result<Option<Request>, Error> {
    let bad = |problem: String| Error::new(Code::BadRequest, problem);
    let mut message = vec![0; PREFIX];
    match stream.read_exact(&mut message[..1]).await {
        Ok(_) => {}
        Err(_) => return Ok(None),
    }
    let rest = async {
        stream
            .read_exact(&mut message[1..])
            .await
            .map_err(|error| bad(format!("half a request: {error}")))?;
        let len =
            codec::message_len(&message, REQUEST_MAX).map_err(|error| bad(error.to_string()))?.unwrap_or(0);
        message.resize(PREFIX + len, 0);
        stream
            .read_exact(&mut message[PREFIX..])
            .await
            .map_err(|error| bad(format!("half a request: {error}")))?;
        let decoded =
            codec::decode::<Request>(&message, REQUEST_MAX).map_err(|error| bad(error.to_string()))?;
        Ok(decoded.map(|(request, _)| request))
    };
    timeout(PATIENCE, rest).await.unwrap_or_else(|_| Err(bad("a request that did not end in time".into())))
}

async fn ask(events: &Sender<Event>, request: Request, peer: &str) -> Result<serde_json::Value, Error> {
    let (reply, answer) = oneshot::channel();
    let event = Event::Request { verb: request.verb, args: request.args, peer: peer.to_owned(), reply };
    let busy = || Error::new(Code::Unavailable, "weftd is busy").remedy("try again");
    events.try_send(event).map_err(|_| busy())?;
    answer.await.unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "weftd is ending")))
}

async fn answer(stream: &mut UnixStream, reply: Reply) -> io::Result<()> {
    let bytes = codec::encode(&reply, REPLY_MAX).or_else(|error| {
        let error =
            Error::new(Code::Internal, error.to_string()).remedy("ask for less: use a filter or a limit");
        codec::encode(&Reply::Error(error), REPLY_MAX)
    });
    let bytes = bytes.map_err(io::Error::other)?;
    timeout(PATIENCE, stream.write_all(&bytes)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
