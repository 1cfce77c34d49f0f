//! The coordinator's side of a collective: it takes in what the workers bring and passes it on while it comes.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::call::{Call, EAGER};
use super::failure::Failure;
use super::frame::{Ack, CHUNK, Incoming, Prefix, Tag};
use super::link::{Arrival, Link};
use super::patience::Patience;
use super::readiness::{Readiness, wait};
use super::traffic::Traffic;

/// Data is passed on in pieces of at least this many bytes, except a lane's last.
const GRAIN: usize = 128 << 10;
/// How often workers that wait learn for whom, where that has changed.
const NEWS: Duration = Duration::from_millis(100);

/// What has gone to a worker of one lane.
#[derive(Clone, Copy, Default)]
struct Cursor {
    has_begun: bool,
    sent: usize,
}

/// One worker in a call.
struct Seat {
    has_entered: bool,
    /// Bytes it announced and will send.
    due: usize,
    received: usize,
    /// Bytes of the present frame that are still to come.
    frame: usize,
    /// It waits for the word to send its data.
    wants_go: bool,
    cursors: Vec<Cursor>,
    is_served: bool,
    /// Whom it was told that the job waits for.
    told: Vec<usize>,
}

/// One call at the coordinator.
pub(super) struct Exchange<'a, T: Traffic> {
    links: &'a mut [Link],
    call: Call,
    seq: u32,
    /// Bytes that each rank announces.
    totals: &'a [usize],
    traffic: T,
    seats: Vec<Seat>,
    absent: usize,
    news_at: Instant,
}

impl<'a, T: Traffic> Exchange<'a, T> {
    pub(super) fn new(links: &'a mut [Link], call: Call, seq: u32, totals: &'a [usize], traffic: T) -> Self {
        let lanes = traffic.lanes().len();
        let seats = links
            .iter()
            .map(|link| Seat {
                has_entered: false,
                due: if call.bringing.includes(link.rank) { totals[link.rank] } else { 0 },
                received: 0,
                frame: 0,
                wants_go: false,
                cursors: vec![Cursor::default(); lanes],
                is_served: false,
                told: Vec::new(),
            })
            .collect();
        let absent = links.len();
        Self { links, call, seq, totals, traffic, seats, absent, news_at: Instant::now() + NEWS }
    }

    /// Performs the call.
    ///
    /// # Errors
    /// Any [`Failure`]; the workers have not been told.
    pub(super) fn run(mut self, mut patience: Patience<'_>) -> Result<(), Failure> {
        let mut readable = vec![true; self.links.len()];
        loop {
            for (index, is_readable) in readable.iter().enumerate() {
                if *is_readable && self.receive(index)? {
                    patience.renew();
                }
            }
            for index in 0..self.links.len() {
                if self.absent == 0 && self.send(index)? {
                    patience.renew();
                }
            }
            if self.seats.iter().all(|seat| seat.is_served) {
                return Ok(());
            }
            self.wait(&mut readable, &mut patience)?;
        }
    }

    /// Takes in what a worker has sent; whether data came after all had entered.
    fn receive(&mut self, index: usize) -> Result<bool, Failure> {
        let rank = index + 1;
        let mut has_moved = false;
        loop {
            let seat = &mut self.seats[index];
            if seat.is_served {
                return Ok(has_moved);
            }
            if seat.frame > 0 {
                let room = self.traffic.room(rank);
                let wanted = room.len().min(seat.frame);
                if wanted == 0 {
                    return Ok(has_moved);
                }
                let Arrival::Bytes(count) = self.links[index].read(&mut room[..wanted])? else {
                    return Ok(has_moved);
                };
                has_moved |= self.absent == 0;
                seat.frame -= count;
                seat.received += count;
                self.traffic.fill(rank, count);
                // A short read has emptied the socket, and a worker that has sent all waits for the answer.
                let is_drained = count < wanted && !self.links[index].has_unread();
                if is_drained || self.seats[index].received == self.seats[index].due {
                    return Ok(has_moved);
                }
                continue;
            }
            match self.links[index].incoming()? {
                None => return Ok(has_moved),
                Some(Incoming::Shutdown(shutdown)) => return Err(Failure::from_shutdown(shutdown)),
                Some(Incoming::Data { tag, prefix, payload }) => {
                    self.accept(index, tag, &prefix, payload)?;
                    let seat = &self.seats[index];
                    if seat.received == seat.due || (seat.wants_go && seat.frame == 0) {
                        return Ok(has_moved);
                    }
                }
                Some(_) => return Err(strange(rank, "a frame that belongs to no collective")),
            }
        }
    }

    /// Checks the head of a frame.
    fn accept(&mut self, index: usize, tag: Tag, prefix: &Prefix, payload: usize) -> Result<(), Failure> {
        let rank = index + 1;
        let seat = &mut self.seats[index];
        if !seat.has_entered {
            let expected = self.call.entry(self.seq, self.totals[rank]);
            self.call.compare(rank, &expected, tag, prefix)?;
            seat.wants_go = seat.due > EAGER;
            if payload != if seat.wants_go { 0 } else { seat.due } {
                return Err(strange(rank, "a frame of another length"));
            }
            seat.has_entered = true;
            seat.frame = payload;
            self.absent -= 1;
            return Ok(());
        }
        let rest = seat.due - seat.received;
        let expected = self.call.entry(self.seq, rest);
        let is_due = rest > 0 && self.absent == 0 && !seat.wants_go;
        if !is_due || tag != self.call.tags.0 || *prefix != expected || payload == 0 || payload > rest {
            return Err(strange(rank, "a frame out of turn"));
        }
        seat.frame = payload;
        Ok(())
    }

    /// Sends what there is for a worker; whether the socket took some of it.
    fn send(&mut self, index: usize) -> Result<bool, Failure> {
        let mut has_moved = false;
        if self.seats[index].is_served {
            return Ok(false);
        }
        if self.seats[index].wants_go {
            self.seats[index].wants_go = false;
            self.links[index].queue_frame(Ack::Go.frame());
        }
        loop {
            while self.links[index].has_room() && self.queue(index) {}
            let link = &mut self.links[index];
            let backlog = link.backlog();
            if backlog == 0 {
                self.seats[index].is_served = self.has_all(index);
                return Ok(has_moved);
            }
            if let Err(failure) = link.push(self.traffic.bytes()) {
                return Err(link.last_words(self.seats[index].frame, failure));
            }
            has_moved |= link.backlog() < backlog;
            if link.is_writing() {
                return Ok(has_moved);
            }
        }
    }

    /// Queues the next piece for a worker, if there is one.
    fn queue(&mut self, index: usize) -> bool {
        let link = &mut self.links[index];
        for (lane, cursor) in self.traffic.lanes().iter().zip(&mut self.seats[index].cursors) {
            let Some(len) = self.call.share(link.rank, lane) else { continue };
            let there = lane.ready.min(len) - cursor.sent;
            let rest = len - cursor.sent;
            let is_worth_it = there == rest || there >= GRAIN;
            if !is_worth_it || (rest == 0 && cursor.has_begun) {
                continue;
            }
            let start = lane.start + cursor.sent;
            let piece = start..start + there.min(CHUNK);
            let prefix = Prefix {
                seq: self.seq,
                elem: self.call.elem,
                op: self.call.op,
                root: lane.origin as u16,
                offset: rest as u64,
            };
            cursor.has_begun = true;
            cursor.sent += piece.len();
            link.queue(self.call.tags.1, prefix, self.traffic.bytes(), piece);
            return true;
        }
        false
    }

    /// Whether a worker has sent and got everything.
    fn has_all(&self, index: usize) -> bool {
        let seat = &self.seats[index];
        let rank = self.links[index].rank;
        let mut lanes = self.traffic.lanes().iter().zip(&seat.cursors);
        seat.received == seat.due
            && lanes.all(|(lane, cursor)| {
                self.call.share(rank, lane).is_none_or(|len| cursor.has_begun && cursor.sent == len)
            })
    }

    /// Sleeps until something can go on; sets who can be read from.
    fn wait(&mut self, readable: &mut [bool], patience: &mut Patience<'_>) -> Result<(), Failure> {
        let mut open = Vec::with_capacity(self.links.len());
        let mut wishes = Vec::with_capacity(self.links.len());
        let mut can_go_on = false;
        for (index, is_readable) in readable.iter_mut().enumerate() {
            *is_readable = false;
            let seat = &self.seats[index];
            if seat.is_served {
                continue;
            }
            let has_room = seat.frame == 0 || !self.traffic.room(index + 1).is_empty();
            if has_room && seat.frame > 0 && self.links[index].has_unread() {
                *is_readable = true;
                can_go_on = true;
            }
            open.push(index);
            wishes.push(Readiness { read: has_room, write: self.links[index].is_writing(), is_over: false });
        }
        if can_go_on {
            return Ok(());
        }
        let news = self.news_at.saturating_duration_since(Instant::now());
        let limit = Some(patience.remaining().map_or(news, |limit| limit.min(news)));
        let sockets: Vec<&TcpStream> = open.iter().map(|index| self.links[*index].stream()).collect();
        wait(&sockets, &mut wishes, limit)
            .map_err(|error| Failure::Failed { culprit: 0, message: error.to_string() })?;
        for (index, came) in open.into_iter().zip(&wishes) {
            readable[index] = came.read;
            if came.is_over && self.seats[index].frame > 0 && self.traffic.room(index + 1).is_empty() {
                let how = "its connection was closed".to_owned();
                return Err(Failure::Lost { rank: index + 1, how });
            }
        }
        let is_quiet = !wishes.iter().any(|came| came.read || came.write);
        if is_quiet {
            patience.check(|| self.missing())?;
        }
        // A worker whose data has just come may have all it needs, and leave without reading the news.
        if (is_quiet || self.absent > 0) && Instant::now() >= self.news_at {
            self.tell_news()?;
        }
        Ok(())
    }

    /// The ranks that have not entered, or, when all have, those whose data does not move.
    fn missing(&self) -> Vec<usize> {
        let is_missing = |seat: &Seat| {
            if self.absent > 0 { !seat.has_entered } else { !seat.is_served && seat.received < seat.due }
        };
        let missing = |is_missing: &dyn Fn(&Seat) -> bool| -> Vec<usize> {
            (0..self.seats.len())
                .filter(|index| is_missing(&self.seats[*index]))
                .map(|index| index + 1)
                .collect()
        };
        let missing_data = missing(&is_missing);
        if missing_data.is_empty() { missing(&|seat: &Seat| !seat.is_served) } else { missing_data }
    }

    /// Tells the workers that have entered, and have not got everything, for whom they wait.
    fn tell_news(&mut self) -> Result<(), Failure> {
        self.news_at = Instant::now() + NEWS;
        let missing = self.missing();
        for (link, seat) in self.links.iter_mut().zip(&mut self.seats) {
            let is_listening = seat.has_entered && !seat.is_served && !link.is_writing();
            if is_listening && seat.told != missing {
                link.queue_frame(Ack::Waiting { missing: missing.clone() }.frame());
                if let Err(failure) = link.push(&[]) {
                    return Err(link.last_words(seat.frame, failure));
                }
                seat.told.clone_from(&missing);
            }
        }
        Ok(())
    }
}

fn strange(rank: usize, what: &str) -> Failure {
    Failure::Failed { culprit: rank, message: format!("rank {rank} sent {what}") }
}
