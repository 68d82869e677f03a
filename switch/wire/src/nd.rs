//! Neighbour and router discovery (RFC 4861 §4): what is where in a message. A message begins with the ICMPv6 header.

/// Where is a router?
pub const ROUTER_SOLICITATION: u8 = 133;
/// A router is here.
pub const ROUTER_ADVERTISEMENT: u8 = 134;
/// Who has this address?
pub const NEIGHBOUR_SOLICITATION: u8 = 135;
/// I have this address.
pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Route this by somebody else.
pub const REDIRECT: u8 = 137;

/// Option: the sender's link-layer address.
pub const SOURCE_LINK_LAYER: u8 = 1;
/// Option: the target's link-layer address.
pub const TARGET_LINK_LAYER: u8 = 2;

/// Whether an ICMPv6 type is one of discovery.
pub const fn is_discovery(kind: u8) -> bool {
    matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
}

/// The address that a solicitation, an advertisement of a neighbour or a redirect is about; none where the message ends
/// before.
pub fn target(message: &[u8]) -> Option<[u8; 16]> {
    message.get(8..)?.first_chunk().copied()
}

/// The address that a redirect leads away from its way.
pub fn redirected(message: &[u8]) -> Option<[u8; 16]> {
    message.get(24..)?.first_chunk().copied()
}

/// The options of a message of discovery; none where it ends before they could begin.
pub fn options(message: &[u8]) -> Option<Options<'_>> {
    let at = match *message.first()? {
        ROUTER_SOLICITATION => 8,
        ROUTER_ADVERTISEMENT => 16,
        REDIRECT => 40,
        _ => 24,
    };
    message.get(at..).map(Options)
}

/// Options, one after the other (RFC 4861 §4.6).
#[derive(Debug, Clone, Default)]
pub struct Options<'a>(&'a [u8]);

/// An option that is longer than the message, or has the length 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsound;

impl<'a> Iterator for Options<'a> {
    /// Type, and what follows type and length.
    type Item = Result<(u8, &'a [u8]), Unsound>;

    fn next(&mut self) -> Option<Self::Item> {
        let (&kind, rest) = self.0.split_first()?;
        let len = rest.first().map_or(0, |len| usize::from(*len) * 8);
        let Some((option, behind)) = self.0.split_at_checked(len).filter(|_| len > 0) else {
            self.0 = &[];
            return Some(Err(Unsound));
        };
        self.0 = behind;
        Some(Ok((kind, &option[2..])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_end_where_one_is_unsound() {
        let message = |options: &[u8]| [&[NEIGHBOUR_SOLICITATION][..], &[0; 23], options].concat();
        let read = |bytes: &[u8]| {
            options(&message(bytes)).map(|options| {
                options.map(|it| it.map(|(kind, body)| (kind, body.len()))).collect::<Vec<_>>()
            })
        };
        assert_eq!(read(&[]), Some(vec![]));
        assert_eq!(
            read(&[1, 1, 2, 0, 0, 0, 0, 5, 14, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            Some(vec![Ok((1, 6)), Ok((14, 14))])
        );
        assert_eq!(read(&[1, 0, 2, 0, 0, 0, 0, 5]), Some(vec![Err(Unsound)]));
        assert_eq!(read(&[1, 2, 2, 0, 0, 0, 0, 5]), Some(vec![Err(Unsound)]));
        assert_eq!(read(&[1]), Some(vec![Err(Unsound)]));
        assert!(options(&message(&[])[..23]).is_none());
    }
}
