//! Boundaries of WebSocket frames (RFC 6455 section 5.2), so that a Close can be inserted between two frames.

/// Follows the frames of one direction. It looks at headers and skips payloads.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// The bytes of a header that is not whole yet.
    header: [u8; LONGEST_HEADER],
    have: usize,
    /// Bytes of the payload that are still to come.
    left: u64,
    /// True if the current frame is a Close.
    closing: bool,
    /// True once a Close has passed to its end.
    pub closed: bool,
}

impl Frames {
    /// Returns true if the next byte begins a frame.
    pub(crate) fn is_between(&self) -> bool {
        self.have == 0 && self.left == 0
    }

    /// Follows the bytes that pass. Returns their number: all, or with `stop` only those up to the end of a frame.
    pub(crate) fn follow(&mut self, bytes: &[u8], stop: bool) -> usize {
        let mut at = 0;
        while at < bytes.len() && !(stop && self.is_between()) {
            if self.left > 0 {
                let rest = (bytes.len() - at) as u64;
                let skipped = self.left.min(rest);
                self.left -= skipped;
                // The number fits: there are no more bytes than that.
                at += usize::try_from(skipped).unwrap_or(usize::MAX);
                self.ended();
                continue;
            }
            if let (Some(byte), Some(place)) = (bytes.get(at), self.header.get_mut(self.have)) {
                *place = *byte;
            }
            (at, self.have) = (at + 1, self.have + 1);
            if let Some(payload) = self.payload() {
                self.closing = self.header[0] & 0x0f == CLOSE;
                (self.have, self.left) = (0, payload);
                self.ended();
            }
        }
        at
    }

    fn ended(&mut self) {
        self.closed |= self.closing && self.left == 0;
    }

    /// Returns the length of the payload, once the header is complete.
    fn payload(&self) -> Option<u64> {
        let header = &self.header[..self.have.min(LONGEST_HEADER)];
        let second = *header.get(1)?;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (extended, length) = match second & 0x7f {
            126 => (2, header.get(2..4).map(|bytes| u64::from(u16::from_be_bytes([bytes[0], bytes[1]])))),
            127 => {
                let bytes = header.get(2..10).and_then(|bytes| bytes.try_into().ok());
                (8, bytes.map(u64::from_be_bytes))
            }
            short => (0, Some(u64::from(short))),
        };
        length.filter(|_| header.len() >= 2 + extended + mask)
    }
}

/// Returns the Close for a client: 1012, "service restart" (IANA's registry of WebSocket close codes). A server's
/// frames are not masked.
pub(crate) fn close_client() -> Vec<u8> {
    frame(1012, REASON, None)
}

/// Returns the Close for an upstream: 1001, "going away". A client's frames are masked (RFC 6455 section 5.3).
pub(crate) fn close_upstream() -> Vec<u8> {
    frame(1001, REASON, Some(fastrand::u32(..).to_be_bytes()))
}

fn frame(code: u16, reason: &str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload: Vec<u8> = code.to_be_bytes().into_iter().chain(reason.bytes()).collect();
    // A control frame's payload is at most 125 bytes.
    let length = u8::try_from(payload.len()).unwrap_or(125);
    let mut frame = vec![0x80 | CLOSE, length | if mask.is_some() { 0x80 } else { 0 }];
    frame.extend(mask.iter().flatten());
    frame.extend(payload.iter().enumerate().map(|(index, byte)| mask.map_or(*byte, |mask| byte ^ mask[index % 4])));
    frame
}

const CLOSE: u8 = 8;
const REASON: &str = "service restart";
/// Longest header of a frame: two bytes, eight of length, four of mask.
const LONGEST_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(length: usize, masked: bool) -> Vec<u8> {
        let mask = if masked { 0x80 } else { 0 };
        let mut frame = vec![0x81];
        match length {
            0..126 => frame.push(u8::try_from(length).unwrap() | mask),
            126..65536 => {
                frame.push(126 | mask);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(127 | mask);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend(masked.then_some([1, 2, 3, 4]).iter().flatten());
        frame.resize(frame.len() + length, 0x88);
        frame
    }

    #[test]
    fn a_close_is_one_frame_that_says_why() {
        let close = close_client();
        assert_eq!(close[..4], [0x88, 2 + 15, 0x03, 0xf4]);
        let mut frames = Frames::default();
        assert_eq!(frames.follow(&close, false), close.len());
        assert!(frames.is_between() && frames.closed);
        let masked = close_upstream();
        let code = [masked[6] ^ masked[2], masked[7] ^ masked[3]];
        assert_eq!((masked[1], u16::from_be_bytes(code)), (0x80 | 17, 1001));
        let mut frames = Frames::default();
        frames.follow(&masked, false);
        assert!(frames.closed);
    }

    proptest! {
        #[test]
        fn frames_end_where_they_end_however_they_are_cut_into_pieces(
            frames in prop::collection::vec((prop_oneof![0..200_usize, 60_000..70_000_usize], any::<bool>()), 1..6),
            pieces in prop::collection::vec(1..5000_usize, 1..50),
        ) {
            let written: Vec<Vec<u8>> = frames.iter().map(|(length, masked)| text(*length, *masked)).collect();
            let ends: Vec<usize> = written.iter().scan(0, |end, frame| { *end += frame.len(); Some(*end) }).collect();
            let bytes = written.concat();
            let (mut tracker, mut at, mut sizes) = (Frames::default(), 0, pieces.iter().cycle());
            while at < bytes.len() {
                let end = (at + sizes.next().unwrap()).min(bytes.len());
                prop_assert_eq!(tracker.follow(&bytes[at..end], false), end - at);
                at = end;
                prop_assert_eq!(tracker.is_between(), ends.contains(&at), "at {}", at);
            }
            prop_assert!(!tracker.closed);
        }

        #[test]
        fn asked_to_stop_it_stops_at_the_first_end(
            first in 0..300_usize, second in 0..300_usize, already in 0..100_usize, masked: bool,
        ) {
            let frame = text(first, masked);
            let bytes = [frame.clone(), text(second, masked)].concat();
            let already = already.min(frame.len() - 1);
            let mut tracker = Frames::default();
            tracker.follow(&bytes[..already], false);
            let passed = tracker.follow(&bytes[already..], true);
            prop_assert_eq!(passed, if already == 0 { 0 } else { frame.len() - already });
            prop_assert!(tracker.is_between());
        }
    }
}
