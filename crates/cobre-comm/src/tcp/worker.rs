//! A worker's side of a collective: everything goes to the coordinator and comes from it.

use std::time::Duration;

use super::call::{Call, EAGER, Lane};
use super::failure::Failure;
use super::frame::{Ack, CHUNK, Incoming, Prefix, Tag};
use super::link::{Arrival, Link};
use super::patience::Patience;
use super::readiness::{Readiness, wait};

/// One call of a worker.
pub(super) struct Errand<'a> {
    pub(super) link: &'a mut Link,
    pub(super) call: Call,
    pub(super) seq: u32,
    /// Bytes that the call announces.
    pub(super) total: usize,
    /// What this rank brings, if it does.
    pub(super) brought: Option<&'a [u8]>,
    /// Where the lanes lie.
    pub(super) buffer: &'a mut [u8],
    /// What comes back, in the order of the origins.
    pub(super) lanes: Vec<Lane>,
}

/// How far a call has come.
struct Progress {
    /// Bytes brought that are queued or sent.
    sent: usize,
    may_send: bool,
    /// Lanes that are complete.
    is_complete: Vec<bool>,
    /// The lane and the bytes of the frame that is being received.
    current: Option<(usize, usize)>,
    /// Whom the coordinator waits for.
    missing: Vec<usize>,
}

impl Progress {
    fn has_all(&self) -> bool {
        self.is_complete.iter().all(|done| *done)
    }
}

impl Errand<'_> {
    /// Performs the call.
    ///
    /// # Errors
    /// Any [`Failure`]; the coordinator has not been told.
    pub(super) fn run(mut self, mut patience: Patience<'_>) -> Result<(), Failure> {
        let brought = self.brought.unwrap_or(&[]);
        let eager = if brought.len() <= EAGER { brought.len() } else { 0 };
        let prefix = self.call.entry(self.seq, self.total);
        self.link.queue(self.call.tags.0, prefix, brought, 0..eager);
        let mut progress = Progress {
            sent: eager,
            may_send: false,
            is_complete: vec![false; self.lanes.len()],
            current: None,
            missing: vec![0],
        };
        let mut is_readable = false;
        loop {
            let is_sent = self.send(brought, &mut progress)?;
            if is_readable {
                self.receive(&mut progress, &mut patience)?;
            }
            if is_sent && progress.sent == brought.len() && progress.has_all() {
                return Ok(());
            }
            if is_readable && progress.may_send && progress.sent < brought.len() && !self.link.is_writing() {
                continue;
            }
            is_readable = self.wait(&progress, &mut patience)?;
        }
    }

    /// True when all that may be sent is.
    fn send(&mut self, brought: &[u8], progress: &mut Progress) -> Result<bool, Failure> {
        loop {
            if progress.may_send && progress.sent < brought.len() && self.link.has_room() {
                let rest = brought.len() - progress.sent;
                let piece = progress.sent..progress.sent + rest.min(CHUNK);
                let prefix = self.call.entry(self.seq, rest);
                self.link.queue(self.call.tags.0, prefix, brought, piece.clone());
                progress.sent = piece.end;
            }
            let skipped = progress.current.map_or(0, |(_, bytes)| bytes);
            match self.link.push(brought) {
                Ok(true) if progress.may_send && progress.sent < brought.len() => {}
                Ok(is_sent) => return Ok(is_sent),
                Err(failure) => return Err(self.link.last_words(skipped, failure)),
            }
        }
    }

    fn receive(&mut self, progress: &mut Progress, patience: &mut Patience<'_>) -> Result<(), Failure> {
        loop {
            if let Some((index, rest)) = progress.current {
                let lane = &mut self.lanes[index];
                let start = lane.start + lane.ready;
                match self.link.read(&mut self.buffer[start..start + rest])? {
                    Arrival::Nothing => return Ok(()),
                    Arrival::Bytes(count) => {
                        patience.renew();
                        lane.ready += count;
                        progress.is_complete[index] = lane.ready == lane.len;
                        progress.current = (count < rest).then_some((index, rest - count));
                        // A short read has emptied the socket; after the last lane nothing is expected.
                        if (count < rest && !self.link.has_unread()) || progress.has_all() {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            match self.link.incoming()? {
                None => return Ok(()),
                Some(Incoming::Ack(Ack::Go)) => {
                    progress.may_send = true;
                    return Ok(());
                }
                Some(Incoming::Ack(Ack::Waiting { missing })) => progress.missing = missing,
                Some(Incoming::Shutdown(shutdown)) => return Err(Failure::from_shutdown(shutdown)),
                Some(Incoming::Data { tag, prefix, payload }) => {
                    let index = self.place(tag, &prefix, payload, progress)?;
                    progress.is_complete[index] = self.lanes[index].len == 0;
                    progress.current = (payload > 0).then_some((index, payload));
                    if progress.has_all() {
                        return Ok(());
                    }
                }
                Some(_) => return Err(strange("a frame that belongs to no collective")),
            }
        }
    }

    /// The lane that a frame continues.
    fn place(
        &self,
        tag: Tag,
        prefix: &Prefix,
        payload: usize,
        progress: &Progress,
    ) -> Result<usize, Failure> {
        let is_ours = tag == self.call.tags.1 && prefix.seq == self.seq && prefix.elem == self.call.elem;
        let index = self.lanes.iter().position(|lane| lane.origin == usize::from(prefix.root));
        let Some(index) = index.filter(|index| is_ours && !progress.is_complete[*index]) else {
            return Err(strange("a frame of another call"));
        };
        let rest = self.lanes[index].len - self.lanes[index].ready;
        if prefix.offset != rest as u64 || payload > rest || (payload == 0) != (rest == 0) {
            return Err(strange("a frame of another length"));
        }
        Ok(index)
    }

    fn wait(&mut self, progress: &Progress, patience: &mut Patience<'_>) -> Result<bool, Failure> {
        if self.link.has_unread() && progress.current.is_some() {
            return Ok(true);
        }
        let mut wishes = [Readiness { read: true, write: self.link.is_writing(), is_over: false }];
        let limit: Option<Duration> = patience.remaining();
        wait(&[self.link.stream()], &mut wishes, limit)
            .map_err(|error| Failure::Failed { culprit: 0, message: error.to_string() })?;
        if !wishes[0].read && !wishes[0].write {
            patience.check(|| progress.missing.clone())?;
        }
        Ok(wishes[0].read)
    }
}

fn strange(what: &str) -> Failure {
    Failure::Failed { culprit: 0, message: format!("the coordinator sent {what}") }
}
