//! How a worker and the coordinator recognise each other, as two state machines without sockets.
//!
//! The worker says who it is and sends a nonce; the coordinator proves with it that it knows the token and sends its
//! own; the worker proves the same. Only then does the coordinator keep anything of the worker. The final `Ok`
//! comes when all ranks are there.

use std::io;

use super::frame::{Ack, Bytes, Incoming, Tag, control};
use super::token::{Key, random, same};

/// The version of the protocol.
pub(super) const VERSION: u16 = 1;
/// The last two bytes tell the byte order, in which data travels as it lies in memory.
const MAGIC: [u8; 6] = *b"cobre:";
const ORDER: u16 = 0x0102;
const HELLO: usize = 6 + 2 + 2 + 4 + 4 + 16 + 16;

/// What the ranks of a job agree on before they speak.
#[derive(Clone)]
pub(super) struct Job {
    key: Key,
    size: u32,
    session: [u8; 16],
}

impl Job {
    pub(super) fn new(key: Key, size: usize) -> Self {
        let code = key.code("session", &[]);
        let mut session = [0; 16];
        session.copy_from_slice(&code[..16]);
        Self { key, size: size as u32, session }
    }

    /// The proof of knowing the token in this very conversation.
    fn proof(&self, role: &str, hello: &[u8], nonce: &[u8]) -> [u8; 32] {
        self.key.code(role, &[hello, nonce])
    }

    fn hello(&self, rank: usize, nonce: &[u8; 16]) -> Vec<u8> {
        let mut hello = Vec::with_capacity(HELLO);
        hello.extend(MAGIC);
        hello.extend(ORDER.to_ne_bytes());
        hello.extend(VERSION.to_be_bytes());
        hello.extend((rank as u32).to_be_bytes());
        hello.extend(self.size.to_be_bytes());
        hello.extend(self.session);
        hello.extend(nonce);
        hello
    }

    /// The rank that a hello is of, `None` when it is none of ours, or why the rank is not wanted.
    fn read_hello(&self, hello: &[u8]) -> Option<Result<usize, String>> {
        let mut fields = Bytes(hello);
        if fields.array()? != MAGIC {
            return None;
        }
        let order = u16::from_ne_bytes(fields.array()?);
        let version = u16::from_be_bytes(fields.array()?);
        if order != ORDER || version != VERSION {
            let text = format!("this job speaks version {VERSION} of the protocol in its own byte order");
            return Some(Err(text));
        }
        let rank = u32::from_be_bytes(fields.array()?);
        let size = u32::from_be_bytes(fields.array()?);
        let session: [u8; 16] = fields.array()?;
        let _: [u8; 16] = fields.array()?;
        if !fields.0.is_empty() {
            return None;
        }
        Some(if !same(&session, &self.session) {
            Err("the token is that of another job".to_owned())
        } else if size != self.size {
            Err(format!("this job has {} ranks, not {size}", self.size))
        } else if rank == 0 || rank >= self.size {
            Err(format!("no worker of this job has rank {rank}"))
        } else {
            Ok(rank as usize)
        })
    }
}

/// What the coordinator does next with a peer that is not admitted yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Send this and go on.
    Answer(Vec<u8>),
    /// The peer is this rank.
    Admit(usize),
    /// Send this and close.
    Refuse(Vec<u8>),
    /// Close: the peer is none of ours.
    Drop,
}

/// The coordinator's side of one conversation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing was said.
    Closed,
    /// The peer has to send this proof.
    Challenged { rank: usize, proof: [u8; 32] },
}

impl Gate {
    /// Takes the next frame of the peer. `nonce` is fresh, `is_taken` tells the ranks that are admitted already.
    pub(super) fn hear(
        &mut self,
        job: &Job,
        frame: &Incoming,
        nonce: [u8; 16],
        is_taken: impl Fn(usize) -> bool,
    ) -> Verdict {
        let refuse = |text: String| Verdict::Refuse(Ack::Reject { text }.frame());
        let Incoming::Handshake(content) = frame else { return Verdict::Drop };
        let taken = |rank: usize| refuse(format!("rank {rank} is connected already"));
        match *self {
            Self::Closed => match job.read_hello(content) {
                None => Verdict::Drop,
                Some(Err(text)) => refuse(text),
                Some(Ok(rank)) if is_taken(rank) => taken(rank),
                Some(Ok(rank)) => {
                    *self = Self::Challenged { rank, proof: job.proof("worker", content, &nonce) };
                    let mac = job.proof("coordinator", content, &nonce);
                    Verdict::Answer(Ack::Challenge { nonce, mac }.frame())
                }
            },
            Self::Challenged { rank, proof } => {
                if !same(content, &proof) {
                    refuse("the token is a different one".to_owned())
                } else if is_taken(rank) {
                    taken(rank)
                } else {
                    Verdict::Admit(rank)
                }
            }
        }
    }
}

/// What the worker does next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this and wait for the next frame.
    Answer(Vec<u8>),
    /// All ranks are connected.
    Joined,
    /// The coordinator does not want this rank.
    Refused(String),
    /// What is at the other end is no coordinator of this job.
    Stranger(&'static str),
}

/// The worker's side of the conversation.
pub(super) struct Entrance {
    job: Job,
    hello: Vec<u8>,
    is_proven: bool,
}

impl Entrance {
    /// A conversation that begins with the frame that is returned.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub(super) fn begin(job: &Job, rank: usize) -> io::Result<(Self, Vec<u8>)> {
        Ok(Self::begin_with(job, rank, random()?))
    }

    pub(super) fn begin_with(job: &Job, rank: usize, nonce: [u8; 16]) -> (Self, Vec<u8>) {
        let hello = job.hello(rank, &nonce);
        let frame = control(Tag::Handshake, &hello);
        (Self { job: job.clone(), hello, is_proven: false }, frame)
    }

    /// Takes the next frame of the coordinator.
    pub(super) fn hear(&mut self, frame: &Incoming) -> Step {
        match frame {
            Incoming::Ack(Ack::Reject { text }) => Step::Refused(text.clone()),
            Incoming::Ack(Ack::Challenge { nonce, mac }) if !self.is_proven => {
                if !same(mac, &self.job.proof("coordinator", &self.hello, nonce)) {
                    return Step::Stranger("the coordinator does not know the token");
                }
                self.is_proven = true;
                let proof = self.job.proof("worker", &self.hello, nonce);
                Step::Answer(control(Tag::Handshake, &proof))
            }
            Incoming::Ack(Ack::Ok { size }) if self.is_proven && *size == self.job.size => Step::Joined,
            _ => Step::Stranger("what answers is no coordinator"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::decode;
    use super::super::token::Token;
    use super::*;

    fn job(token: &str, size: usize) -> Job {
        Job::new(Key::new(Token::from_hex(token).as_ref()), size)
    }

    fn parse(frame: &[u8]) -> Incoming {
        let (incoming, taken) = decode(frame).unwrap().unwrap();
        assert_eq!(taken, frame.len());
        incoming
    }

    fn refusal(verdict: Verdict) -> String {
        let Verdict::Refuse(frame) = verdict else { panic!("{verdict:?}") };
        let Incoming::Ack(Ack::Reject { text }) = parse(&frame) else { panic!("{frame:?}") };
        text
    }

    const TOKEN: &str = "000102030405060708090a0b0c0d0e0f";
    const OTHER: &str = "000102030405060708090a0b0c0d0e10";

    #[test]
    fn those_who_know_the_token_meet() {
        for token in [TOKEN, ""] {
            let job = job(token, 3);
            let (mut worker, hello) = Entrance::begin(&job, 2).unwrap();
            let mut gate = Gate::Closed;
            let Verdict::Answer(challenge) = gate.hear(&job, &parse(&hello), [7; 16], |_| false) else {
                panic!("the hello is right")
            };
            let Step::Answer(proof) = worker.hear(&parse(&challenge)) else {
                panic!("the challenge is right")
            };
            assert_eq!(gate.hear(&job, &parse(&proof), [8; 16], |_| false), Verdict::Admit(2));
            assert_eq!(worker.hear(&parse(&Ack::Ok { size: 3 }.frame())), Step::Joined);
        }
    }

    #[test]
    fn those_who_differ_are_refused_by_name() {
        let ours = job(TOKEN, 3);
        let refused = |theirs: &Job, rank: usize, taken: bool| {
            let (_, hello) = Entrance::begin(theirs, rank).unwrap();
            refusal(Gate::Closed.hear(&ours, &parse(&hello), [7; 16], |_| taken))
        };
        assert!(refused(&job(OTHER, 3), 1, false).contains("another job"));
        assert!(refused(&job("", 3), 1, false).contains("another job"));
        assert!(refused(&job(TOKEN, 4), 1, false).contains("3 ranks, not 4"));
        assert!(refused(&ours, 0, false).contains("rank 0"));
        assert!(refused(&ours, 3, false).contains("rank 3"));
        assert!(refused(&ours, 1, true).contains("connected already"));
        let (_, mut hello) = Entrance::begin(&ours, 1).unwrap();
        hello[5 + 9] ^= 1;
        assert!(refusal(Gate::Closed.hear(&ours, &parse(&hello), [7; 16], |_| false)).contains("version"));
        hello[5] ^= 1;
        assert_eq!(Gate::Closed.hear(&ours, &parse(&hello), [7; 16], |_| false), Verdict::Drop);
    }

    #[test]
    fn a_stolen_session_does_not_help() {
        let ours = job(TOKEN, 3);
        let mut thief = job(OTHER, 3);
        thief.session = ours.session;
        let (mut worker, hello) = Entrance::begin(&thief, 1).unwrap();
        let mut gate = Gate::Closed;
        let Verdict::Answer(challenge) = gate.hear(&ours, &parse(&hello), [7; 16], |_| false) else {
            panic!("the session is right")
        };
        assert!(matches!(worker.hear(&parse(&challenge)), Step::Stranger(_)), "neither do workers trust it");
        let guess = control(Tag::Handshake, &[0; 32]);
        assert!(refusal(gate.hear(&ours, &parse(&guess), [9; 16], |_| false)).contains("different"));
    }

    #[test]
    fn a_recorded_conversation_is_worth_nothing() {
        let ours = job(TOKEN, 3);
        let (mut worker, hello) = Entrance::begin(&ours, 1).unwrap();
        let mut gate = Gate::Closed;
        let Verdict::Answer(challenge) = gate.hear(&ours, &parse(&hello), [7; 16], |_| false) else {
            panic!()
        };
        let Step::Answer(proof) = worker.hear(&parse(&challenge)) else { panic!() };
        // The coordinator chooses another nonce the next time.
        let mut gate = Gate::Closed;
        assert!(matches!(gate.hear(&ours, &parse(&hello), [8; 16], |_| false), Verdict::Answer(_)));
        assert!(matches!(gate.hear(&ours, &parse(&proof), [9; 16], |_| false), Verdict::Refuse(_)));
        // So does the worker.
        let (mut worker, _) = Entrance::begin(&ours, 1).unwrap();
        assert!(matches!(worker.hear(&parse(&challenge)), Step::Stranger(_)));
        // A challenge reflected as a proof is no proof.
        let Incoming::Ack(Ack::Challenge { mac, .. }) = parse(&challenge) else { panic!() };
        let mut gate = Gate::Closed;
        assert!(matches!(gate.hear(&ours, &parse(&hello), [7; 16], |_| false), Verdict::Answer(_)));
        let reflected = control(Tag::Handshake, &mac);
        assert!(matches!(gate.hear(&ours, &parse(&reflected), [9; 16], |_| false), Verdict::Refuse(_)));
    }

    #[test]
    fn workers_do_not_join_out_of_turn() {
        let ours = job(TOKEN, 3);
        let (mut worker, _) = Entrance::begin(&ours, 1).unwrap();
        assert!(matches!(worker.hear(&parse(&Ack::Ok { size: 3 }.frame())), Step::Stranger(_)));
        let text = "rank 1 is connected already".to_owned();
        assert_eq!(worker.hear(&parse(&Ack::Reject { text: text.clone() }.frame())), Step::Refused(text));
    }
}
