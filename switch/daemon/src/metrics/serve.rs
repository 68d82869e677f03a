//! HTTP: `GET /metrics`, and nothing else.

use std::{
    convert::Infallible,
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crossbeam::channel::Sender;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{ACCEPT, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, oneshot},
    time::timeout,
};
use weft_ctl_api::spec::Listen;

use super::{Exposition, Metrics};
use crate::event::Event;

/// Clients at once; more wait.
const CLIENTS_MAX: usize = 8;
/// A client that stays longer is let go.
const PATIENCE: Duration = Duration::from_secs(30);
/// A request's head comes within this time.
const HEAD: Duration = Duration::from_secs(5);
/// The control thread answers within this time, or the client hears that it is busy.
const ANSWER: Duration = Duration::from_secs(5);

/// There is no place to listen.
#[derive(Debug, thiserror::Error)]
#[error("metrics.listen: {listen}: {source}; name another place, or end what listens there")]
pub struct ServeError {
    listen: Listen,
    source: io::Error,
}

/// Where metrics are to be had.
#[derive(Debug)]
pub enum Listener {
    /// A loopback address.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Begins to listen. Needs a tokio runtime.
    pub fn bind(listen: &Listen) -> Result<Self, ServeError> {
        let bound = match listen {
            Listen::Tcp(address) => std::net::TcpListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(Self::Tcp)
            }),
            Listen::Unix(path) => bind_unix(path).map(Self::Unix),
        };
        bound.map_err(|source| ServeError { listen: listen.clone(), source })
    }

    /// Serves for ever.
    pub async fn serve(self, events: Sender<Event>) {
        let places = Arc::new(Semaphore::new(CLIENTS_MAX));
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let events = events.clone();
            let accepted = match &self {
                Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        serve_client(stream, events).await;
                        drop(place);
                    })
                }),
                Self::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(async move {
                        serve_client(stream, events).await;
                        drop(place);
                    })
                }),
            };
            if accepted.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await; // out of descriptors, most likely
            }
        }
    }
}

/// A socket that nobody listens on any more is in the way; anything else is not ours to remove.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(there) = fs::symlink_metadata(path) {
        let is_stale =
            there.file_type().is_socket() && std::os::unix::net::UnixStream::connect(path).is_err();
        if !is_stale {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn serve_client(stream: impl AsyncRead + AsyncWrite + Unpin, events: Sender<Event>) {
    let service = service_fn(move |request| {
        let events = events.clone();
        async move { Ok::<_, Infallible>(answer(request, events).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    // Whoever breaks off has what it wanted, or comes again.
    let _ = timeout(PATIENCE, http.serve_connection(TokioIo::new(stream), service)).await;
}

async fn answer(request: Request<Incoming>, events: Sender<Event>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "weftd's metrics are at /metrics\n");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
    }
    let accept = request.headers().get(ACCEPT).and_then(|value| value.to_str().ok());
    let exposition = Exposition::accepted(accept);
    let (reply, metrics) = oneshot::channel();
    let asked = events.try_send(Event::Scrape { reply });
    let metrics = match (asked, timeout(ANSWER, metrics).await) {
        (Ok(()), Ok(Ok(metrics))) => metrics,
        _ => return plain(StatusCode::SERVICE_UNAVAILABLE, "the control thread is busy; try again\n"),
    };
    match write(metrics, exposition) {
        Some(response) => response,
        None => plain(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n"),
    }
}

fn write(metrics: Metrics, exposition: Exposition) -> Option<Response<Full<Bytes>>> {
    let text = metrics.text(exposition).ok()?;
    Response::builder().header(CONTENT_TYPE, exposition.content_type()).body(Full::from(text)).ok()
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response
}
