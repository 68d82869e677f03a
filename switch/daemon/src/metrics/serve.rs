//! HTTP: `GET /metrics`, and nothing else.
//!
//! Anybody on the node may connect: loopback knows no users. So that nobody keeps the scraper out, connections wait for nothing: one
//! more than there is room for takes the place of the one that has been silent longest, of those that never asked before those
//! that did. And so that nobody keeps weftd busy, all who ask within [`FRESH`] share one reading.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crossbeam::channel::Sender;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::oneshot,
    task::AbortHandle,
    time::timeout,
};
use weft_ctl_api::spec::Listen;

use super::{Exposition, Metrics};
use crate::{
    event::Event,
    unix::{self, BindError, SocketFile},
};

/// Clients at once.
const CLIENTS_MAX: usize = 128;
/// A client that stays longer is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request's head comes within this time,
const HEAD: Duration = Duration::from_secs(5);
/// and in so many bytes: Prometheus's is some hundred.
const HEAD_MAX: usize = 16 << 10;
/// The control thread answers within this time, or the client hears that it is busy.
const ANSWER: Duration = Duration::from_secs(5);
/// A reading serves everybody who asks within this time.
const FRESH: Duration = Duration::from_millis(200);

/// There is no place to listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The kernel would not.
    #[error("metrics.listen: {listen}: {source}; name another place, or end what listens there")]
    Tcp {
        /// Where.
        listen: Listen,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The socket can't be had.
    #[error("metrics.listen: {0}")]
    Unix(#[from] BindError),
}

/// Where metrics are to be had.
#[derive(Debug)]
pub struct Listener(Socket);

#[derive(Debug)]
enum Socket {
    /// A loopback address.
    Tcp(TcpListener),
    /// A Unix socket; its file goes with it.
    Unix(UnixListener, #[expect(dead_code, reason = "removes the file when dropped")] SocketFile),
}

impl Listener {
    /// Begins to listen. Needs a tokio runtime.
    pub fn bind(listen: &Listen) -> Result<Self, ServeError> {
        match listen {
            Listen::Tcp(address) => {
                let bound = std::net::TcpListener::bind(address).and_then(|listener| {
                    listener.set_nonblocking(true)?;
                    TcpListener::from_std(listener).map(Socket::Tcp)
                });
                bound.map(Self).map_err(|source| ServeError::Tcp { listen: listen.clone(), source })
            }
            Listen::Unix(path) => Self::bind_unix(path),
        }
    }

    fn bind_unix(path: &Path) -> Result<Self, ServeError> {
        let (listener, file) = unix::bind(path, None, 0o660)?;
        let failed = |source| BindError::Io { path: path.to_owned(), source };
        Ok(Self(Socket::Unix(UnixListener::from_std(listener).map_err(failed)?, file)))
    }

    /// Serves for ever.
    pub async fn serve(self, events: Sender<Event>) {
        /// On TCP all are alike.
        const NOBODY: u32 = u32::MAX;
        let clients = Arc::new(Clients::default());
        let readings = Arc::new(Readings::new(events));
        loop {
            let accepted = match &self.0 {
                Socket::Tcp(listener) => {
                    listener.accept().await.map(|(stream, _)| clients.admit(stream, NOBODY, &readings))
                }
                Socket::Unix(listener, _) => listener.accept().await.map(|(stream, _)| {
                    let uid = stream.peer_cred().map_or(NOBODY, |peer| peer.uid());
                    clients.admit(stream, uid, &readings);
                }),
            };
            if accepted.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
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
    /// It has sent a whole request.
    has_asked: bool,
    /// When it connected or asked last.
    heard: Instant,
    task: AbortHandle,
}

impl Clients {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admit<S>(self: &Arc<Self>, stream: S, uid: u32, readings: &Arc<Readings>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut places = self.places();
        if places.taken.len() >= CLIENTS_MAX {
            places.make_room();
        }
        let id = places.next;
        places.next += 1;
        let (place, readings) = (Arc::new(Place { clients: self.clone(), id }), readings.clone());
        let task = tokio::spawn(serve_client(stream, place, readings));
        let task = task.abort_handle();
        places.taken.insert(id, Client { uid, has_asked: false, heard: Instant::now(), task });
    }
}

impl Places {
    /// Whoever has most clients loses one: of those that never asked, or else of all, the one silent longest.
    fn make_room(&mut self) {
        let mut crowds: HashMap<u32, usize> = HashMap::new();
        self.taken.values().for_each(|client| *crowds.entry(client.uid).or_default() += 1);
        let crowd = crowds.into_iter().max_by_key(|(_, count)| *count).map(|(uid, _)| uid);
        let theirs = self.taken.iter().filter(|(_, client)| Some(client.uid) == crowd);
        let longest = theirs.min_by_key(|(_, client)| (client.has_asked, client.heard)).map(|(id, _)| *id);
        if let Some(client) = longest.and_then(|id| self.taken.remove(&id)) {
            client.task.abort(); // closes its connection
        }
    }
}

/// A client's place among them; given up when dropped.
struct Place {
    clients: Arc<Clients>,
    id: u64,
}

impl Place {
    fn has_asked(&self) {
        if let Some(client) = self.clients.places().taken.get_mut(&self.id) {
            (client.has_asked, client.heard) = (true, Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.clients.places().taken.remove(&self.id);
    }
}

async fn serve_client(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    place: Arc<Place>,
    readings: Arc<Readings>,
) {
    let asks = place.clone();
    let service = service_fn(move |request| {
        asks.has_asked();
        let readings = readings.clone();
        async move { Ok::<_, Infallible>(answer(request, &readings).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(HEAD_MAX);
    // Whoever breaks off has what it wanted, or comes again.
    let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), service)).await;
    drop(place);
}

/// The last reading, shared by those who ask at one time.
struct Readings {
    events: Sender<Event>,
    last: tokio::sync::Mutex<Last>,
}

#[derive(Default)]
struct Last {
    at: Option<Instant>,
    /// None: the control thread was busy.
    metrics: Option<Metrics>,
    /// Written out.
    texts: HashMap<Exposition, Bytes>,
}

impl Readings {
    fn new(events: Sender<Event>) -> Self {
        Self { events, last: tokio::sync::Mutex::default() }
    }

    /// Why there is none otherwise.
    async fn text(&self, exposition: Exposition) -> Result<Bytes, (StatusCode, &'static str)> {
        let mut last = self.last.lock().await;
        if last.at.is_none_or(|at| at.elapsed() >= FRESH) {
            let metrics = self.read().await;
            *last = Last { at: Some(Instant::now()), metrics, texts: HashMap::new() };
        }
        if let Some(text) = last.texts.get(&exposition) {
            return Ok(text.clone());
        }
        let busy = (StatusCode::SERVICE_UNAVAILABLE, "the control thread is busy; try again\n");
        let metrics = last.metrics.clone().ok_or(busy)?;
        let unwritten = (StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n");
        let text = tokio::task::spawn_blocking(move || metrics.text(exposition)).await;
        let text = Bytes::from(text.map_err(|_| unwritten)?.map_err(|_| unwritten)?);
        last.texts.insert(exposition, text.clone());
        Ok(text)
    }

    async fn read(&self) -> Option<Metrics> {
        let (reply, metrics) = oneshot::channel();
        self.events.try_send(Event::Scrape { reply }).ok()?;
        timeout(ANSWER, metrics).await.ok()?.ok()
    }
}

async fn answer(request: Request<Incoming>, readings: &Readings) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "weftd's metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = Exposition::accepted(accept);
    match readings.text(exposition).await {
        Ok(text) => {
            let mut response = Response::new(Full::from(text));
            let kind = HeaderValue::from_static(exposition.content_type());
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        Err((status, text)) => plain(status, text),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
