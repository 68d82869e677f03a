//! Requests and replies as bytes: a length, 32 bits big-endian, then so many bytes of JSON. No I/O here.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Call, Code, Error};

/// The protocol's version. Both sides must have the same.
pub const VERSION: u32 = 1;
/// Longest request, bytes of JSON: a configuration of some ten thousand endpoints.
pub const REQUEST_MAX: usize = 1 << 20;
/// Longest reply, bytes of JSON: a dump of some hundred thousand flows.
pub const REPLY_MAX: usize = 64 << 20;

/// A request on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`VERSION`] of whoever asks.
    pub version: u32,
    /// The verb's words.
    pub verb: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Value,
    /// What is changed is also written to weftd's configuration file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub persist: bool,
}

/// A reply on the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What was asked for.
    Ok(Value),
    /// Why not.
    Error(Error),
}

/// Bytes that are no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than allowed.
    #[error("a message of {len} bytes: {max} are allowed")]
    TooLong {
        /// Its length.
        len: usize,
        /// The most.
        max: usize,
    },
    /// Not the JSON that was expected.
    #[error("a message that can't be read: {0}")]
    Json(String),
}

/// Bytes of the length in front of a message.
pub const PREFIX: usize = 4;

/// Puts a message into a frame.
pub fn encode<T: Serialize>(message: &T, max: usize) -> Result<Vec<u8>, DecodeError> {
    let json = serde_json::to_vec(message).map_err(|error| DecodeError::Json(error.to_string()))?;
    if json.len() > max {
        return Err(DecodeError::TooLong { len: json.len(), max });
    }
    Ok([&(json.len() as u32).to_be_bytes()[..], &json].concat())
}

/// The length of the message that begins with these bytes; none: more bytes are needed to tell.
pub fn message_len(bytes: &[u8], max: usize) -> Result<Option<usize>, DecodeError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let len = u32::from_be_bytes(*prefix) as usize;
    if len > max { Err(DecodeError::TooLong { len, max }) } else { Ok(Some(len)) }
}

/// Takes the first message off `bytes`: the message, and how many bytes it took. None: it is not all there yet.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], max: usize) -> Result<Option<(T, usize)>, DecodeError> {
    let Some(len) = message_len(bytes, max)? else { return Ok(None) };
    let Some(json) = bytes.get(PREFIX..PREFIX + len) else { return Ok(None) };
    let message = serde_json::from_slice(json).map_err(|error| DecodeError::Json(error.to_string()))?;
    Ok(Some((message, PREFIX + len)))
}

/// The request for a call.
pub fn request<C: Call>(call: &C) -> Result<Request, DecodeError> {
    let args = serde_json::to_value(call).map_err(|error| DecodeError::Json(error.to_string()))?;
    Ok(Request { version: VERSION, verb: C::VERB.to_owned(), args, persist: false })
}

/// Refuses a request of another version.
pub fn check_version(request: &Request) -> Result<(), Error> {
    if request.version == VERSION {
        return Ok(());
    }
    let message =
        format!("the request is of protocol version {}, weftd speaks version {VERSION}", request.version);
    Err(Error::new(Code::BadRequest, message).remedy("use a weftctl of the same version as weftd"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode::<Request>(&bytes, REQUEST_MAX);
            let framed = [&(bytes.len() as u32).to_be_bytes()[..], &bytes].concat();
            let _ = decode::<Request>(&framed, REQUEST_MAX);
            let _ = decode::<Reply>(&framed, REPLY_MAX);
        }

        #[test]
        fn messages_round_trip_however_they_arrive(verb in "\\PC{0,20}", version in any::<u32>(), cut in any::<prop::sample::Index>()) {
            let request = Request { version, verb, args: serde_json::json!({"name": "x"}), persist: version % 2 == 0 };
            let bytes = encode(&request, REQUEST_MAX).unwrap();
            let part = cut.index(bytes.len());
            prop_assert_eq!(decode::<Request>(&bytes[..part], REQUEST_MAX).unwrap(), None);
            prop_assert_eq!(decode::<Request>(&bytes, REQUEST_MAX).unwrap(), Some((request, bytes.len())));
        }
    }

    #[test]
    fn numbers_are_written_as_they_were_read() {
        let number: f64 = "8888888888888888.888e3".parse().unwrap();
        let read: f64 = serde_json::from_str("8888888888888888.888e3").unwrap();
        assert_eq!(read, number);
    }

    #[test]
    fn too_long_is_said_before_it_is_read() {
        let error = decode::<Request>(&[0xff, 0xff, 0xff, 0xff], REQUEST_MAX).unwrap_err();
        assert_eq!(error, DecodeError::TooLong { len: u32::MAX as usize, max: REQUEST_MAX });
    }
}
