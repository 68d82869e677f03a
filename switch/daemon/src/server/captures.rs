//! Captures, as asked for.

use weft_ctl_api::{
    Code, Error,
    capture::{Capture, CaptureStarted, Direction},
};
use weft_dataplane::capture::{Point, Spec};
use weft_wire::{Mac, PortId};

use super::{Session, filter, not_found};

/// Longest packet there is: a super-frame.
const SNAPLEN_MAX: u32 = 64 << 10;

/// Where to look.
struct Place {
    port: (String, PortId),
    mac: Option<Mac>,
}

impl Session {
    /// Begins a capture; the stream waits for the answer to be sent.
    pub(super) fn start_capture(&mut self, call: Capture) -> Result<CaptureStarted, Error> {
        let is_drops = call.target == "drops";
        if let (false, Some(at)) = (is_drops, &call.at) {
            let remedy = format!("leave out \"{at}\", or capture `drops`");
            return Err(
                Error::new(Code::Invalid, "only drops are captured at one port of many").remedy(remedy)
            );
        }
        let place = match (call.target.as_str(), call.at.as_deref()) {
            ("drops", None) | ("any", _) => None,
            ("drops", Some(name)) | (name, _) => Some(self.find_place(name)?),
        };
        let points = match call.direction {
            _ if is_drops => vec![Point::Drop],
            Direction::In => vec![Point::In],
            Direction::Out => vec![Point::Out],
            Direction::Both => vec![Point::In, Point::Out],
        };
        let what = match (&place, is_drops) {
            (None, true) => "drops".to_owned(),
            (None, false) => "every port".to_owned(),
            (Some(place), true) => format!("drops at port {}", place.port.0),
            (Some(place), false) => format!("port {}", place.port.0),
        };
        let snap = if call.snaplen == 0 { SNAPLEN_MAX } else { call.snaplen.min(SNAPLEN_MAX) } as usize;
        let spec = Spec {
            ports: place.as_ref().map(|place| vec![place.port.1]),
            mac: place.as_ref().and_then(|place| place.mac),
            points,
            filter: call.filter.as_ref().map(filter::load).transpose()?,
            snap,
        };
        let ports = place.map(|place| place.port).into_iter().collect();
        self.stream = Some(self.captures.start(&self.switch, spec, ports)?);
        tracing::info!(filter = call.filter.map(|filter| filter.text), "capture of {what}");
        Ok(CaptureStarted { what, version: env!("CARGO_PKG_VERSION").into() })
    }

    /// A port, or the port of an endpoint.
    fn find_place(&self, name: &str) -> Result<Place, Error> {
        let config = &self.switch.config;
        let endpoint = config.endpoint.iter().find(|endpoint| endpoint.name == name);
        let is_port = config.port.iter().any(|port| port.name == name);
        let (port, mac) = match endpoint.filter(|_| !is_port) {
            Some(endpoint) => {
                let beside = config.endpoint.iter().filter(|other| other.port == endpoint.port).count();
                (&endpoint.port, (beside > 1).then_some(endpoint.mac))
            }
            None if is_port => (&name.to_owned(), None),
            None => {
                let ports = config.port.iter().map(|port| port.name.as_str());
                let endpoints = config.endpoint.iter().map(|endpoint| endpoint.name.as_str());
                return Err(not_found("port or endpoint", name, ports.chain(endpoints)));
            }
        };
        match self.switch.ports.get(port) {
            Some(open) => Ok(Place { port: (port.clone(), open.id()), mac }),
            None => Err(Error::new(Code::Unavailable, format!("the device of port \"{port}\" is gone"))
                .remedy("`weftctl config reload` tries it again")),
        }
    }
}
