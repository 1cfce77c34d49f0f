//! One rank of the communication benchmark, over shared memory or TCP.
//!
//! The loop, the arguments and the output are those of `benches/mpi/collectives.c`, so that what differs is the
//! library; `benches/compare_mpi.py` runs both:
//!
//! ```text
//! collectives shm OPERATION:COUNT:ITERATIONS ...   prints "OPERATION COUNT MICROSECONDS" for each
//! collectives tcp wait:SECONDS:1                   prints "wait SECONDS SHARE", the processor share of a waiter
//! collectives loopback pingpong:BYTES:ITERATIONS   times a round trip between two bare sockets
//! ```
//!
//! A time is the median over iterations of the longest time of any rank. Every iteration writes the send buffers
//! anew and checks the whole result. `registered` is an allgatherv out of a buffer of `alloc_send`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use cobre_comm::{Communicator, ReduceOp, ShmBackend, ShmConfig, TcpBackend, TcpConfig};
use rustix::time::{ClockId, clock_gettime};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// One measurement asked for on the command line.
struct Request<'a> {
    operation: &'a str,
    count: usize,
    iterations: usize,
}

impl<'a> Request<'a> {
    fn parse(argument: &'a str) -> Outcome<Self> {
        let parts: Vec<&str> = argument.split(':').collect();
        let [operation, count, iterations] = parts[..] else {
            return Err(format!("{argument} is no OPERATION:COUNT:ITERATIONS").into());
        };
        let (count, iterations) = (count.parse()?, iterations.parse()?);
        if iterations == 0 {
            return Err(format!("{argument} has no iterations").into());
        }
        Ok(Self { operation, count, iterations })
    }

    fn print(&self, value: f64) -> Outcome<()> {
        let mut output = std::io::stdout();
        writeln!(output, "{} {} {value:.5}", self.operation, self.count)?;
        Ok(output.flush()?)
    }
}

/// Bytes that differ between ranks, iterations and places.
fn byte_at(rank: usize, iteration: usize, place: usize) -> u8 {
    (rank * 67 + iteration * 29 + place + (place >> 8) + 1) as u8
}

/// Small whole numbers, whose sums are exact in any order.
fn number_at(rank: usize, iteration: usize, place: usize) -> f64 {
    f64::from(rank as u32 + 1) * f64::from((iteration % 1000 + (place & 7) + 1) as u32)
}

fn fill(buffer: &mut [u8], rank: usize, iteration: usize) {
    for (place, byte) in buffer.iter_mut().enumerate() {
        *byte = byte_at(rank, iteration, place);
    }
}

fn check_filled(buffer: &[u8], rank: usize, iteration: usize) -> Outcome<()> {
    let compared = buffer.iter().enumerate().map(|(place, byte)| byte ^ byte_at(rank, iteration, place));
    if compared.fold(0, |difference, byte| difference | byte) == 0 {
        Ok(())
    } else {
        Err(format!("wrong part of rank {rank} in iteration {iteration}").into())
    }
}

/// Runs the timed part of an iteration after a barrier; the rest of the iteration is the caller's.
fn timed<C: Communicator>(
    comm: &C,
    part: impl FnOnce() -> Result<(), cobre_comm::CommError>,
) -> Outcome<Duration> {
    comm.barrier()?;
    let start = Instant::now();
    part()?;
    Ok(start.elapsed())
}

/// Repeats `step`, which gives the time of one iteration: the median of the longest times of any rank, in µs.
fn repeat<C: Communicator>(
    comm: &C,
    iterations: usize,
    mut step: impl FnMut(usize) -> Outcome<Duration>,
) -> Outcome<f64> {
    let mut times = vec![0.0; iterations];
    let mut longest = vec![0.0; iterations];
    let first = iterations / 10 + 1;
    for iteration in 0..first + iterations {
        let taken = step(iteration)?;
        if iteration >= first {
            times[iteration - first] = taken.as_secs_f64() * 1e6;
        }
    }
    comm.allreduce(&times, &mut longest, ReduceOp::Max)?;
    longest.sort_unstable_by(f64::total_cmp);
    Ok(longest[iterations / 2])
}

fn allreduce<C: Communicator>(comm: &C, request: &Request) -> Outcome<f64> {
    let (mut values, mut sums) = (vec![0.0; request.count], vec![0.0; request.count]);
    let ranks = (comm.size() * (comm.size() + 1) / 2) as f64;
    repeat(comm, request.iterations, |iteration| {
        for (place, value) in values.iter_mut().enumerate() {
            *value = number_at(comm.rank(), iteration, place);
        }
        let taken = timed(comm, || comm.allreduce(&values, &mut sums, ReduceOp::Sum))?;
        let compared = sums.iter().enumerate();
        let wrong =
            compared.fold(false, |wrong, (i, sum)| wrong | (*sum != ranks * number_at(0, iteration, i)));
        if wrong { Err(format!("wrong sum in iteration {iteration}").into()) } else { Ok(taken) }
    })
}

fn allgatherv<C: Communicator>(comm: &C, request: &Request, send: &mut [u8]) -> Outcome<f64> {
    let counts = vec![request.count; comm.size()];
    let places: Vec<usize> = (0..comm.size()).map(|rank| rank * request.count).collect();
    let mut receive = vec![0; comm.size() * request.count];
    repeat(comm, request.iterations, |iteration| {
        fill(send, comm.rank(), iteration);
        let taken = timed(comm, || comm.allgatherv(send, &mut receive, &counts, &places))?;
        for (rank, place) in places.iter().enumerate() {
            check_filled(&receive[*place..*place + request.count], rank, iteration)?;
        }
        Ok(taken)
    })
}

fn broadcast<C: Communicator>(comm: &C, request: &Request) -> Outcome<f64> {
    let mut buffer = vec![0; request.count];
    repeat(comm, request.iterations, |iteration| {
        if comm.rank() == 0 {
            fill(&mut buffer, 0, iteration);
        }
        let taken = timed(comm, || comm.broadcast(&mut buffer, 0))?;
        check_filled(&buffer, 0, iteration)?;
        Ok(taken)
    })
}

/// Seconds of processor time that all threads of this process have used.
fn processor_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Rank 0 computes while the others wait for it: the largest share of a processor that a waiter used.
fn waiting<C: Communicator>(comm: &C, request: &Request) -> Outcome<f64> {
    comm.barrier()?;
    let (start, processor) = (Instant::now(), processor_seconds());
    while comm.rank() == 0 && start.elapsed() < Duration::from_secs(request.count as u64) {}
    comm.barrier()?;
    let share = (processor_seconds() - processor) / start.elapsed().as_secs_f64();
    let mut largest = [0.0];
    comm.allreduce(&[if comm.rank() == 0 { 0.0 } else { share }], &mut largest, ReduceOp::Max)?;
    Ok(largest[0])
}

fn run<C: Communicator>(comm: &C, arguments: &[String]) -> Outcome<()> {
    for argument in arguments {
        let request = Request::parse(argument)?;
        let value = match request.operation {
            "barrier" => repeat(comm, request.iterations, |_| timed(comm, || comm.barrier()))?,
            "allreduce" => allreduce(comm, &request)?,
            "allgatherv" => allgatherv(comm, &request, &mut vec![0; request.count])?,
            "registered" => allgatherv(comm, &request, &mut comm.alloc_send(request.count)?)?,
            "broadcast" => broadcast(comm, &request)?,
            "wait" => waiting(comm, &request)?,
            other => return Err(format!("{other} is no operation").into()),
        };
        if comm.rank() == 0 {
            request.print(value)?;
        }
    }
    Ok(())
}

/// Times round trips between two bare sockets of this machine.
fn loopback(arguments: &[String]) -> Outcome<()> {
    for argument in arguments {
        let request = Request::parse(argument)?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut near = TcpStream::connect(listener.local_addr()?)?;
        let mut far = listener.accept()?.0;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let count = request.count;
        let echo = std::thread::spawn(move || {
            let mut buffer = vec![0; count];
            while far.read_exact(&mut buffer).and_then(|()| far.write_all(&buffer)).is_ok() {}
        });
        let mut buffer = vec![0; count];
        let mut times = Vec::with_capacity(request.iterations);
        for _ in 0..request.iterations {
            let start = Instant::now();
            near.write_all(&buffer)?;
            near.read_exact(&mut buffer)?;
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        drop(near);
        echo.join().map_err(|_| "the echo ended badly")?;
        times.sort_unstable_by(f64::total_cmp);
        request.print(times[request.iterations / 2])?;
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((backend, requests)) if backend == "shm" => {
            run(&ShmBackend::connect(&ShmConfig::from_env()?)?, requests)
        }
        Some((backend, requests)) if backend == "tcp" => {
            run(&TcpBackend::connect(&TcpConfig::from_env()?)?, requests)
        }
        Some((backend, requests)) if backend == "loopback" => loopback(requests),
        _ => Err("give shm, tcp or loopback, then OPERATION:COUNT:ITERATIONS".into()),
    }
}
