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
    #[error("no permission to use {}: be root, a member of the group that node.control_group names, or somebody whom [roles] names", .path.display())]
    Permission {
        /// The socket.
        path: PathBuf,
    },
    /// It takes too long.
    #[error("weftd did not answer within {} s; it may be busy: try again, or wait longer with --timeout", .0.as_secs())]
    TimedOut(Duration),
    /// The connection broke.
    #[error("weftd did not answer: {0}")]
    Broken(io::Error),
    /// The tool itself could not do what it was asked.
    #[error("{0}")]
    Own(String),
    /// Either side wrote nonsense.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// weftd refused.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// A connection to weftd.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    timeout: Duration,
    persist: bool,
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
        Ok(Self { stream, timeout, persist: false })
    }

    /// The same, that also has what it changes written to weftd's configuration file.
    #[must_use]
    pub fn persist(self, persist: bool) -> Self {
        Self { persist, ..self }
    }

    /// Asks, and waits for the answer.
    pub fn call<C: Call>(&mut self, call: &C) -> Result<C::Reply, ClientError> {
        let request = codec::Request { persist: self.persist, ..codec::request(call)? };
        let bytes = codec::encode(&request, REQUEST_MAX)?;
        let message = self.exchange(&bytes).map_err(|error| match error {
            // How the kernel says that a socket's timeout has passed (socket(7), SO_RCVTIMEO).
            ClientError::Broken(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ClientError::TimedOut(self.timeout)
            }
            error => error,
        })?;
        match codec::decode::<Reply>(&message, REPLY_MAX)? {
            Some((Reply::Ok(value), _)) => {
                serde_json::from_value(value).map_err(|error| DecodeError::Json(error.to_string()).into())
            }
            Some((Reply::Error(error), _)) => Err(error.into()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// Asks; what follows the answer is the caller's to read, however long it takes.
    pub fn stream<C: Call>(&mut self, call: &C) -> Result<(C::Reply, UnixStream), ClientError> {
        let reply = self.call(call)?;
        self.stream.set_read_timeout(None)?;
        Ok((reply, self.stream.try_clone()?))
    }

    /// The connection, to see when it goes.
    pub fn socket(&self) -> io::Result<UnixStream> {
        self.stream.try_clone()
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, ClientError> {
        self.stream.write_all(request)?;
        let mut message = vec![0; PREFIX];
        self.stream.read_exact(&mut message)?;
        let len = codec::message_len(&message, REPLY_MAX)?.unwrap_or(0);
        message.resize(PREFIX + len, 0);
        self.stream.read_exact(&mut message[PREFIX..])?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Status;

    #[test]
    fn a_weftd_that_does_not_answer_in_time_is_told_of_as_such() {
        let (own, _other) = UnixStream::pair().expect("a pair of sockets");
        let timeout = Duration::from_millis(20);
        own.set_read_timeout(Some(timeout)).expect("a timeout");
        let error =
            Client { stream: own, timeout, persist: false }.call(&Status {}).expect_err("nobody answers");
        assert!(
            matches!(error, ClientError::TimedOut(_)) && error.to_string().contains("--timeout"),
            "{error}"
        );
    }
}
