//! What travels between ranks: a length of four bytes (big-endian, counting what follows), a tag of one, a payload.
//!
//! The payload of a collective's frame begins with a [`Prefix`] of fixed width, so that both ends see at once when
//! they are not in the same call. Nothing here allocates by a number that a peer wrote.

/// Most payload bytes of one collective frame.
pub(super) const CHUNK: usize = 1 << 20;
/// Most bytes of a frame that is not a collective's, tag included.
pub(super) const CONTROL: usize = 256;
/// Bytes before the payload of a collective frame: length, tag and prefix.
pub(super) const HEAD: usize = 5 + PREFIX;
/// Most ranks that a notice lists.
pub(super) const LISTED: usize = 64;

const PREFIX: usize = 16;
/// Most bytes of a reason in words.
const WORDS: usize = 200;

/// The ten kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    AllgathervSend = 1,
    AllgathervRecv = 2,
    AllreduceSend = 3,
    AllreduceRecv = 4,
    Broadcast = 5,
    BarrierReady = 6,
    BarrierGo = 7,
    Handshake = 8,
    Ack = 9,
    Shutdown = 10,
}

impl Tag {
    const ALL: [Self; 10] = [
        Self::AllgathervSend,
        Self::AllgathervRecv,
        Self::AllreduceSend,
        Self::AllreduceRecv,
        Self::Broadcast,
        Self::BarrierReady,
        Self::BarrierGo,
        Self::Handshake,
        Self::Ack,
        Self::Shutdown,
    ];

    fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == byte)
    }

    fn is_collective(self) -> bool {
        (self as u8) < Self::Handshake as u8
    }

    /// The operation that a rank is in when it sends the frame.
    pub(super) fn operation(self) -> &'static str {
        match self {
            Self::AllgathervSend | Self::AllgathervRecv => "allgatherv",
            Self::AllreduceSend | Self::AllreduceRecv => "allreduce",
            Self::Broadcast => "broadcast",
            Self::BarrierReady | Self::BarrierGo => "barrier",
            Self::Handshake | Self::Ack | Self::Shutdown => "none",
        }
    }
}

/// What a frame says about the call it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// The number of the call, wrapping.
    pub(super) seq: u32,
    /// The element type, [`NO_ELEMENT`] without elements.
    pub(super) elem: u8,
    /// The reduction; of a gathered contribution, 8 bits of the digest of all counts.
    pub(super) op: u8,
    /// The root of a broadcast, the rank that a gathered part is of; of a gathered contribution, 16 bits of the
    /// digest.
    pub(super) root: u16,
    /// Bytes from the beginning of this frame's data to the end of the data it is part of. Measured from the end,
    /// it tells the whole length already in the first frame.
    pub(super) offset: u64,
}

/// The element type of calls without elements.
pub(super) const NO_ELEMENT: u8 = u8::MAX;

impl Prefix {
    /// The first bytes of a frame of `payload` data bytes.
    pub(super) fn head(&self, tag: Tag, payload: usize) -> [u8; HEAD] {
        debug_assert!(payload <= CHUNK);
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&((1 + PREFIX + payload) as u32).to_be_bytes());
        head[4] = tag as u8;
        head[5..9].copy_from_slice(&self.seq.to_be_bytes());
        head[9] = self.elem;
        head[10] = self.op;
        head[11..13].copy_from_slice(&self.root.to_be_bytes());
        head[13..].copy_from_slice(&self.offset.to_be_bytes());
        head
    }

    fn parse(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(Self {
            seq: u32::from_be_bytes(bytes.array()?),
            elem: bytes.array::<1>()?[0],
            op: bytes.array::<1>()?[0],
            root: u16::from_be_bytes(bytes.array()?),
            offset: u64::from_be_bytes(bytes.array()?),
        })
    }
}

/// Why a rank stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It was dropped in peace.
    Left = 0,
    /// The culprit was lost.
    Lost = 1,
    /// The culprit called something else.
    Mismatch = 2,
    /// The culprit did not come in the time the user set.
    Timeout = 3,
    /// The culprit failed otherwise.
    Failed = 4,
    /// The culprit aborts the job.
    Aborted = 5,
}

/// The last frame of a rank, in either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shutdown {
    pub(super) reason: Reason,
    /// The rank where the cause lies.
    pub(super) culprit: usize,
    /// Milliseconds waited, or the code of an abort.
    pub(super) number: u64,
    /// The reason in words.
    pub(super) text: String,
    /// The ranks that are missing.
    pub(super) ranks: Vec<usize>,
}

impl Shutdown {
    /// The whole frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut payload = vec![self.reason as u8];
        payload.extend((self.culprit as u16).to_be_bytes());
        payload.extend(self.number.to_be_bytes());
        if self.reason == Reason::Timeout {
            push_ranks(&mut payload, &self.ranks);
        } else {
            payload.extend(words(&self.text).as_bytes());
        }
        control(Tag::Shutdown, &payload)
    }

    fn parse(bytes: &mut Bytes<'_>) -> Option<Self> {
        use Reason::{Aborted, Failed, Left, Lost, Mismatch, Timeout};
        let reason = [Left, Lost, Mismatch, Timeout, Failed, Aborted];
        let reason = *reason.get(usize::from(bytes.array::<1>()?[0]))?;
        let culprit = usize::from(u16::from_be_bytes(bytes.array()?));
        let number = u64::from_be_bytes(bytes.array()?);
        let (text, ranks) = if reason == Timeout {
            (String::new(), take_ranks(bytes)?)
        } else {
            (text(bytes.rest())?, Vec::new())
        };
        Some(Self { reason, culprit, number, text, ranks })
    }
}

/// What the coordinator tells a worker beside data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ack {
    /// All ranks are connected; the size of the job.
    Ok { size: u32 },
    /// Proof that the coordinator knows the token, and what the worker has to prove it with.
    Challenge { nonce: [u8; 16], mac: [u8; 32] },
    /// The worker is not wanted.
    Reject { text: String },
    /// Every rank has entered the call: the worker may send its data.
    Go,
    /// The ranks that have not entered the call.
    Waiting { missing: Vec<usize> },
}

impl Ack {
    /// The whole frame.
    pub(super) fn frame(&self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(64);
        match self {
            Self::Ok { size } => {
                payload.push(0);
                payload.extend(size.to_be_bytes());
            }
            Self::Challenge { nonce, mac } => {
                payload.push(1);
                payload.extend(nonce);
                payload.extend(mac);
            }
            Self::Reject { text } => {
                payload.push(2);
                payload.extend(words(text).as_bytes());
            }
            Self::Go => payload.push(3),
            Self::Waiting { missing } => {
                payload.push(4);
                push_ranks(&mut payload, missing);
            }
        }
        control(Tag::Ack, &payload)
    }

    fn parse(bytes: &mut Bytes<'_>) -> Option<Self> {
        Some(match bytes.array::<1>()?[0] {
            0 => Self::Ok { size: u32::from_be_bytes(bytes.array()?) },
            1 => Self::Challenge { nonce: bytes.array()?, mac: bytes.array()? },
            2 => Self::Reject { text: text(bytes.rest())? },
            3 => Self::Go,
            4 => Self::Waiting { missing: take_ranks(bytes)? },
            _ => return None,
        })
    }
}

/// A frame, or its head where data follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A collective's frame; `payload` bytes of data follow.
    Data { tag: Tag, prefix: Prefix, payload: usize },
    /// The payload of a handshake.
    Handshake(Vec<u8>),
    /// A word of the coordinator.
    Ack(Ack),
    /// The end.
    Shutdown(Shutdown),
}

/// Why bytes are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("a frame of {0} bytes")]
    Length(u32),
    #[error("a frame with the unknown tag {0}")]
    Tag(u8),
    #[error("a frame of the tag {0} with a wrong content")]
    Content(u8),
}

/// Reads the frame at the beginning of `bytes`: the frame and how many bytes it takes (of a collective's, the head),
/// or nothing when bytes are still missing.
///
/// # Errors
/// When no continuation of the bytes can be a frame: known as early as it can be.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<(Incoming, usize)>, Malformed> {
    let mut rest = Bytes(bytes);
    let Some(length) = rest.array().map(u32::from_be_bytes) else { return Ok(None) };
    if length == 0 || length as usize > 1 + PREFIX + CHUNK {
        return Err(Malformed::Length(length));
    }
    let Some([byte]) = rest.array() else { return Ok(None) };
    let tag = Tag::from_byte(byte).ok_or(Malformed::Tag(byte))?;
    let payload = length as usize - 1;
    if tag.is_collective() {
        let Some(payload) = payload.checked_sub(PREFIX) else { return Err(Malformed::Length(length)) };
        let Some(prefix) = Prefix::parse(&mut rest) else { return Ok(None) };
        return Ok(Some((Incoming::Data { tag, prefix, payload }, HEAD)));
    }
    if payload >= CONTROL {
        return Err(Malformed::Length(length));
    }
    let Some(content) = rest.take(payload) else { return Ok(None) };
    let mut content = Bytes(content);
    let parsed = match tag {
        Tag::Handshake => Some(Incoming::Handshake(content.rest().to_vec())),
        Tag::Ack => Ack::parse(&mut content).map(Incoming::Ack),
        _ => Shutdown::parse(&mut content).map(Incoming::Shutdown),
    };
    match parsed {
        Some(frame) if content.0.is_empty() => Ok(Some((frame, 5 + payload))),
        _ => Err(Malformed::Content(byte)),
    }
}

/// A whole frame that is not a collective's.
pub(super) fn control(tag: Tag, payload: &[u8]) -> Vec<u8> {
    debug_assert!(payload.len() < CONTROL);
    let mut frame = Vec::with_capacity(5 + payload.len());
    frame.extend((1 + payload.len() as u32).to_be_bytes());
    frame.push(tag as u8);
    frame.extend(payload);
    frame
}

fn push_ranks(payload: &mut Vec<u8>, ranks: &[usize]) {
    for rank in ranks.iter().take(LISTED) {
        payload.extend((*rank as u16).to_be_bytes());
    }
}

fn take_ranks(bytes: &mut Bytes<'_>) -> Option<Vec<usize>> {
    let content = bytes.rest();
    if !content.len().is_multiple_of(2) {
        return None;
    }
    Some(content.chunks_exact(2).map(|pair| usize::from(u16::from_be_bytes([pair[0], pair[1]]))).collect())
}

/// The text, cut at a character where it is too long for a frame.
fn words(text: &str) -> &str {
    &text[..text.floor_char_boundary(WORDS)]
}

fn text(bytes: &[u8]) -> Option<String> {
    std::str::from_utf8(bytes).ok().map(str::to_owned)
}

/// Takes fields from the beginning of bytes.
pub(super) struct Bytes<'a>(pub(super) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranks() -> impl Strategy<Value = Vec<usize>> {
        proptest::collection::vec(0usize..65_536, 0..LISTED)
    }

    fn shutdowns() -> impl Strategy<Value = Shutdown> {
        use Reason::{Aborted, Failed, Left, Lost, Mismatch};
        let worded = (
            proptest::sample::select(vec![Left, Lost, Mismatch, Failed, Aborted]),
            0usize..65_536,
            any::<u64>(),
            ".{0,40}",
        )
            .prop_map(|(reason, culprit, number, text)| Shutdown {
                reason,
                culprit,
                number,
                text,
                ranks: Vec::new(),
            });
        let timeouts = (0usize..65_536, any::<u64>(), ranks()).prop_map(|(culprit, number, ranks)| {
            Shutdown { reason: Reason::Timeout, culprit, number, text: String::new(), ranks }
        });
        prop_oneof![worded, timeouts]
    }

    fn acks() -> impl Strategy<Value = Ack> {
        prop_oneof![
            any::<u32>().prop_map(|size| Ack::Ok { size }),
            (any::<[u8; 16]>(), any::<[u8; 32]>()).prop_map(|(nonce, mac)| Ack::Challenge { nonce, mac }),
            ".{0,40}".prop_map(|text| Ack::Reject { text }),
            Just(Ack::Go),
            ranks().prop_map(|missing| Ack::Waiting { missing }),
        ]
    }

    proptest! {
        #[test]
        fn data_frames_come_back(
            tag in 1u8..8, seq: u32, elem: u8, op: u8, root: u16, offset: u64, payload in 0..=CHUNK,
        ) {
            let tag = Tag::from_byte(tag).unwrap();
            let prefix = Prefix { seq, elem, op, root, offset };
            let head = prefix.head(tag, payload);
            prop_assert_eq!(decode(&head), Ok(Some((Incoming::Data { tag, prefix, payload }, HEAD))));
            for cut in 0..HEAD {
                prop_assert_eq!(decode(&head[..cut]), Ok(None));
            }
        }

        #[test]
        fn control_frames_come_back(shutdown in shutdowns(), ack in acks(), tail in any::<[u8; 3]>()) {
            for (mut frame, expected) in
                [(shutdown.frame(), Incoming::Shutdown(shutdown)), (ack.frame(), Incoming::Ack(ack))]
            {
                let len = frame.len();
                prop_assert!(len <= 4 + CONTROL);
                for cut in 0..len {
                    prop_assert_eq!(decode(&frame[..cut]), Ok(None));
                }
                frame.extend(tail);
                prop_assert_eq!(decode(&frame), Ok(Some((expected, len))));
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(Some((_, taken))) = decode(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }

    #[test]
    fn hopeless_frames_are_known_early() {
        assert_eq!(decode(&[0; 4]), Err(Malformed::Length(0)));
        assert_eq!(decode(&[255; 4]), Err(Malformed::Length(u32::MAX)));
        assert_eq!(decode(&[0, 0, 0, 1, 0]), Err(Malformed::Tag(0)));
        assert_eq!(decode(&[0, 0, 0, 1, 11]), Err(Malformed::Tag(11)));
        assert_eq!(decode(&[0, 0, 0, 1, 6]), Err(Malformed::Length(1)), "a barrier without its prefix");
        assert_eq!(decode(&[0, 0, 1, 1, 8]), Err(Malformed::Length(257)), "a handshake of 257 bytes");
        assert_eq!(decode(&[0, 0, 0, 2, 9, 5]), Err(Malformed::Content(9)));
        assert_eq!(decode(&[0, 0, 0, 3, 9, 3, 0]), Err(Malformed::Content(9)), "bytes too many");
    }

    #[test]
    fn long_words_are_cut_at_a_character() {
        let shutdown = Shutdown {
            reason: Reason::Failed,
            culprit: 1,
            number: 0,
            text: "é".repeat(150),
            ranks: Vec::new(),
        };
        let frame = shutdown.frame();
        let Ok(Some((Incoming::Shutdown(read), _))) = decode(&frame) else { panic!("{frame:?}") };
        assert_eq!(read.text, "é".repeat(100));
    }
}
