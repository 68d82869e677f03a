//! The Unix socket.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use crate::{
    capture::Stream,
    event::{Answer, Event, make},
    roles::{Identity, Roles},
    unix::{self, BindError, SocketFile},
};
use crossbeam::channel::Sender;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, oneshot},
    task::AbortHandle,
    time::timeout,
};
use weft_ctl_api::{
    Code, Error,
    codec::{self, PREFIX, REPLY_MAX, REQUEST_MAX, Reply, Request},
};

/// Clients at once; for one more, the one that has been silent longest must go, of the user who has most.
const CLIENTS_MAX: usize = 64;
/// Users who may not are told so, so many at once; one more is not told.
const REFUSALS_MAX: usize = 16;
/// A user's requests that wait for the control thread at once, those of connections that have gone included; each may take 16 MB.
const WAITING_MAX: usize = 32;
/// A user's replies that are made at once, which may take long; each may take 64 MB, and a core.
const LONG_MAX: usize = 2;
/// A user's replies that are only written down, at once: they do not wait for the others.
const SHORT_MAX: usize = 6;
/// A client says something within this time from when it has connected.
const SILENCE: Duration = Duration::from_secs(10);
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
    /// It can't be had.
    #[error("node.control: {0}")]
    Bind(BindError),
}

impl From<BindError> for SocketError {
    fn from(error: BindError) -> Self {
        match error {
            BindError::InUse(path) => Self::InUse(path),
            error => Self::Bind(error),
        }
    }
}

/// The listening socket; its file goes with it.
pub struct ControlSocket {
    listener: UnixListener,
    access: Arc<Access>,
}

/// Who may connect. It changes with the configuration.
#[derive(Debug)]
pub struct Access {
    file: Mutex<Option<SocketFile>>,
    roles: RwLock<Arc<Roles>>,
}

impl Access {
    fn roles(&self) -> Arc<Roles> {
        self.roles.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Others may from now on.
    pub fn set(&self, roles: &Roles) -> io::Result<()> {
        if *self.roles() == *roles {
            return Ok(());
        }
        *self.roles.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(roles.clone());
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.as_ref().map_or(Ok(()), |file| file.set_mode(roles.socket_mode()))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Now, and not when the last who has access to it goes.
        self.access.file.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl ControlSocket {
    /// Listens. The file's mode is as closed as roles let it be.
    pub fn bind(path: &Path, roles: &Roles) -> Result<Self, SocketError> {
        let (listener, file) = unix::bind(path, roles.socket_group, roles.socket_mode())?;
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let access = Access { file: Mutex::new(Some(file)), roles: RwLock::new(Arc::new(roles.clone())) };
        Ok(Self { listener, access: Arc::new(access) })
    }

    /// Who may connect.
    pub fn access(&self) -> Arc<Access> {
        self.access.clone()
    }

    /// Serves clients until the task is dropped.
    pub async fn serve(&self, requests: Sender<Event>) {
        let clients = Arc::new(Clients::default());
        let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
        let [waiting, long, short] = [WAITING_MAX, LONG_MAX, SHORT_MAX].map(Shares::of);
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match user(&stream, &self.access.roles()) {
                    Ok(who) => {
                        let (waiting, long, short) = (waiting.clone(), long.clone(), short.clone());
                        let way = Way { requests: requests.clone(), waiting, long, short };
                        clients.admit(stream, Arc::new(who), way);
                    }
                    // Whoever may not takes no place from those who may.
                    Err(error) => {
                        let Ok(permit) = refusals.clone().try_acquire_owned() else { continue };
                        tokio::spawn(async move {
                            let _ = refuse(stream, error).await;
                            drop(permit);
                        });
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Clients, as long as they are connected.
#[derive(Debug, Default)]
struct Clients(Mutex<Places>);

#[derive(Debug, Default)]
struct Places {
    taken: HashMap<u64, Client>,
    next: u64,
}

#[derive(Debug)]
struct Client {
    uid: u32,
    /// When it was last heard of or answered.
    heard: Instant,
    task: AbortHandle,
}

impl Clients {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit(self: &Arc<Self>, stream: UnixStream, who: Arc<Identity>, way: Way) {
        let mut places = self.places();
        if places.taken.len() >= CLIENTS_MAX {
            // Of whoever has most: a crowd of one user's takes no other's place.
            let mut crowds: HashMap<u32, usize> = HashMap::new();
            places.taken.values().for_each(|client| *crowds.entry(client.uid).or_default() += 1);
            let crowd = crowds.into_iter().max_by_key(|(_, count)| *count).map(|(uid, _)| uid);
            let theirs = places.taken.iter().filter(|(_, client)| Some(client.uid) == crowd);
            let longest = theirs.min_by_key(|(_, client)| client.heard).map(|(id, _)| *id);
            if let Some(client) = longest.and_then(|id| places.taken.remove(&id)) {
                client.task.abort(); // closes its connection
            }
        }
        let id = places.next;
        places.next += 1;
        let (place, uid) = (Place { clients: self.clone(), id }, who.uid);
        let task = tokio::spawn(async move {
            // A client that broke off or hung has lost its connection; nobody else cares.
            let _ = attend(stream, &who, &place, &way).await;
        });
        places.taken.insert(id, Client { uid, heard: Instant::now(), task: task.abort_handle() });
    }
}

/// A client's place among them; given up when dropped.
struct Place {
    clients: Arc<Clients>,
    id: u64,
}

impl Place {
    /// The client has said something, or was answered.
    fn heard(&self) {
        if let Some(client) = self.clients.places().taken.get_mut(&self.id) {
            client.heard = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.places().taken.remove(&self.id);
    }
}

/// Who connected (SO_PEERCRED), if they have any role, whatever the file's mode was made to by others since.
fn user(stream: &UnixStream, roles: &Roles) -> Result<Identity, Error> {
    let internal = |error: io::Error| Error::new(Code::Internal, error.to_string());
    let peer = Identity::of(stream).map_err(internal)?;
    if roles.of(&peer).is_some() {
        return Ok(peer);
    }
    let remedy = match roles.socket_group {
        Some(_) => {
            "be root, a member of the group that node.control_group names, or somebody whom [roles] names"
        }
        None => "be root, or have the administrator name you in [roles]",
    };
    Err(Error::new(Code::Forbidden, format!("user {} may not control weftd", peer.uid)).remedy(remedy))
}

/// Hears a request out, so that the answer is not lost with the connection.
async fn refuse(mut stream: UnixStream, error: Error) -> io::Result<()> {
    const HEARING: Duration = Duration::from_secs(1);
    let _ = timeout(HEARING, read(&mut stream)).await;
    answer(&mut stream, Reply::Error(error)).await
}

async fn attend(mut stream: UnixStream, who: &Arc<Identity>, place: &Place, way: &Way) -> io::Result<()> {
    let mut patience = SILENCE;
    loop {
        let request = match timeout(patience, read(&mut stream)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => return answer(&mut stream, Reply::Error(error)).await,
        };
        place.heard();
        let outcome = match codec::check_version(&request) {
            Ok(()) => way.ask(request, who).await,
            Err(error) => Err(error),
        };
        let follows = match outcome {
            Ok(answer) => way.send(&mut stream, who, answer).await?,
            Err(error) => {
                answer(&mut stream, Reply::Error(error)).await?;
                None
            }
        };
        if let Some(follows) = follows {
            return follows.serve(stream.into_std()?); // no place among the clients any more
        }
        place.heard();
        patience = IDLE;
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

/// The way to the control thread.
struct Way {
    requests: Sender<Event>,
    /// Requests that wait there, those of clients that have gone meanwhile included.
    waiting: Shares,
    /// Replies that are being made, and those that are being written down.
    long: Shares,
    short: Shares,
}

/// Places by user: nobody waits for lack of another's.
#[derive(Debug, Clone)]
struct Shares {
    most: usize,
    users: Arc<Mutex<HashMap<u32, Arc<Semaphore>>>>,
}

impl Shares {
    fn of(most: usize) -> Self {
        Self { most, users: Arc::default() }
    }

    fn places(&self, uid: u32) -> Arc<Semaphore> {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.retain(|_, places| places.available_permits() < self.most || Arc::strong_count(places) > 1);
        users.entry(uid).or_insert_with(|| Arc::new(Semaphore::new(self.most))).clone()
    }
}

impl Way {
    async fn ask(&self, request: Request, peer: &Arc<Identity>) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        let Request { verb, args, persist, .. } = request;
        let busy = || Error::new(Code::Unavailable, "weftd is busy").remedy("try again");
        let place = self.waiting.places(peer.uid).try_acquire_owned().map_err(|_| busy())?;
        let event = Event::Request { verb, args, persist, peer: peer.clone(), reply, place };
        self.requests.try_send(event).map_err(|_| busy())?;
        answer.await.unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "weftd is ending")))
    }

    /// Makes the reply, writes it down and sends it; what follows is told when it was sent.
    async fn send(
        &self,
        stream: &mut UnixStream,
        who: &Identity,
        answer: Answer,
    ) -> io::Result<Option<Stream>> {
        let Answer { reply, warnings, stream: follows, place } = answer;
        // Closed never; without a permit it would be made all the same.
        let lane = if reply.is_long { &self.long } else { &self.short };
        let permit = lane.places(who.uid).acquire_owned().await.ok();
        let bytes = tokio::task::spawn_blocking(move || {
            let made = make(reply, warnings);
            let is_made = made.is_ok();
            (encoded(&made.map_or_else(Reply::Error, Reply::Ok)), is_made)
        });
        let (bytes, is_made) = bytes.await.map_err(io::Error::other)?;
        drop((permit, place));
        write(stream, &bytes?).await?;
        Ok(follows.filter(|_| is_made))
    }
}

async fn answer(stream: &mut UnixStream, reply: Reply) -> io::Result<()> {
    write(stream, &encoded(&reply)?).await
}

fn encoded(reply: &Reply) -> io::Result<Vec<u8>> {
    let bytes = codec::encode(reply, REPLY_MAX).or_else(|error| {
        let error =
            Error::new(Code::Internal, error.to_string()).remedy("ask for less: use a filter or a limit");
        codec::encode(&Reply::Error(error), REPLY_MAX)
    });
    bytes.map_err(io::Error::other)
}

async fn write(stream: &mut UnixStream, bytes: &[u8]) -> io::Result<()> {
    timeout(PATIENCE, stream.write_all(bytes)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}
