//! A blocking client.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    Call, Error,
    codec::{self, DecodeError, PREFIX, REPLY_MAX, REQUEST_MAX, Reply},
};

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("weftd does not listen on {}: {source}; start it with `weftd --config FILE`, or name its socket with --socket", .path.display())]
    NotRunning {
        /// The socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The socket may not be used.
    #[error("no permission to use {}: be root, or a member of the group that node.control_group names", .path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// The connection broke.
    #[error("weftd did not answer: {0}")]
    Broken(#[from] io::Error),
    /// Either side wrote nonsense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// weftd refused.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// A connection to weftd.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
}

impl Client {
    /// Connects; every step may take `timeout`.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied => ClientError::Permission { path: path.to_owned() },
            _ => ClientError::NotRunning { path: path.to_owned(), source },
        })?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        Ok(Self { stream })
    }

    /// Asks, and waits for the answer.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Reply, ClientError> {
        let bytes = codec::encode(&codec::request(call)?, REQUEST_MAX)?;
        self.stream.write_all(&bytes)?;
        let mut message = vec![0; PREFIX];
        self.stream.read_exact(&mut message)?;
        let len = codec::message_len(&message, REPLY_MAX)?.unwrap_or(0);
        message.resize(PREFIX + len, 0);
        self.stream.read_exact(&mut message[PREFIX..])?;
        match codec::decode::<Reply>(&message, REPLY_MAX)? {
            Some((Reply::Ok(value), _)) => {
                serde_json::from_value(value).map_err(|error| DecodeError::Json(error.to_string()).into())
            }
            Some((Reply::Error(error), _)) => Err(error.into()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }
}
