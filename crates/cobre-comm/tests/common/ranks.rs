//! Ranks: threads of the test's process, or processes that run the test's own program again.

use std::fmt::Write as _;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Set in a rank's environment: its number.
pub const RANK: &str = "COBRE_TEST_RANK";
/// Set in a rank's environment: the number of ranks.
pub const SIZE: &str = "COBRE_TEST_SIZE";

/// The rank and the size, when this process is a rank.
pub fn role() -> Option<(usize, usize)> {
    let read = |name| std::env::var(name).ok()?.parse().ok();
    Some((read(RANK)?, read(SIZE)?))
}

/// A number no other job of this machine uses at the moment, for names of segments and the like.
pub fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    u64::from(std::process::id()) << 24 | NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Runs `work` on ranks that are threads. `connect` makes the communicator of a rank, on the rank's thread.
pub fn on_threads<C, R: Send>(
    size: usize,
    connect: impl Fn(usize) -> C + Sync,
    work: impl Fn(&C) -> R + Sync,
) -> Vec<R> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..size)
            .map(|rank| {
                let (connect, work) = (&connect, &work);
                scope.spawn(move || work(&connect(rank)))
            })
            .collect();
        threads
            .into_iter()
            .enumerate()
            .map(|(rank, thread)| thread.join().unwrap_or_else(|_| panic!("rank {rank} of {size} panicked")))
            .collect()
    })
}

/// Ranks that are processes, killed when they are dropped.
pub struct Processes {
    children: Vec<(Child, File, File)>,
    /// Closing it tells the ranks that their parent is gone.
    lifeline: Option<OwnedFd>,
}

/// How a rank ended and what it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Processes {
    /// Starts `size` processes that run the test `test` of this program, which sees its [`role`].
    pub fn start(test: &str, size: usize, environment: impl Fn(usize) -> Vec<(String, String)>) -> Self {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        // Only the reading end is inherited: the lifeline breaks when this process ends.
        rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::empty()).expect("an open descriptor");
        let program = std::env::current_exe().expect("the path of the test program");
        let children = (0..size)
            .map(|rank| {
                let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
                let child = Command::new(&program)
                    .args(["--exact", test, "--nocapture", "--include-ignored"])
                    .env(RANK, rank.to_string())
                    .env(SIZE, size.to_string())
                    .env("COBRE_COMM_LIFELINE", read.as_raw_fd().to_string())
                    .envs(environment(rank))
                    .stdin(Stdio::null())
                    .stdout(stdout.try_clone().unwrap())
                    .stderr(stderr.try_clone().unwrap())
                    .spawn()
                    .expect("the test program starts again");
                (child, stdout, stderr)
            })
            .collect();
        Self { children, lifeline: Some(write) }
    }

    /// Sends a signal to a rank.
    pub fn signal(&self, rank: usize, signal: Signal) {
        let pid = Pid::from_child(&self.children[rank].0);
        kill_process(pid, signal).expect("the rank runs");
    }

    /// What a rank has printed so far.
    pub fn printed(&self, rank: usize) -> String {
        read_all(&self.children[rank].1)
    }

    /// Waits until a rank has printed a text; panics with the output of all ranks when it does not in time.
    pub fn await_print(&mut self, rank: usize, text: &str, limit: Duration) {
        let started = Instant::now();
        while !self.printed(rank).contains(text) {
            assert!(
                started.elapsed() < limit,
                "rank {rank} did not print {text:?} in {limit:?}:{}",
                self.transcript()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Breaks the lifeline, as the end of the parent does.
    pub fn cut_lifeline(&mut self) {
        self.lifeline = None;
    }

    /// Whether a rank has ended.
    pub fn has_ended(&mut self, rank: usize) -> bool {
        self.children[rank].0.try_wait().expect("a child").is_some()
    }

    /// Waits for all ranks; panics with their output when one does not end in time.
    pub fn wait(mut self, limit: Duration) -> Vec<Ended> {
        let started = Instant::now();
        while !(0..self.children.len()).all(|rank| self.has_ended(rank)) {
            assert!(
                started.elapsed() < limit,
                "ranks are still running after {limit:?}:{}",
                self.transcript()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        self.children
            .iter_mut()
            .map(|(child, stdout, stderr)| Ended {
                status: child.wait().expect("a child"),
                stdout: read_all(stdout),
                stderr: read_all(stderr),
            })
            .collect()
    }

    /// As [`wait`](Self::wait); panics unless every rank ended well.
    pub fn succeed(self, limit: Duration) {
        for (rank, ended) in self.wait(limit).iter().enumerate() {
            assert!(
                ended.status.success(),
                "rank {rank}: {}\n{}{}",
                ended.status,
                ended.stdout,
                ended.stderr
            );
        }
    }

    fn transcript(&self) -> String {
        let mut text = String::new();
        for (rank, (_, stdout, stderr)) in self.children.iter().enumerate() {
            write!(text, "\nrank {rank}:\n{}{}", read_all(stdout), read_all(stderr)).unwrap();
        }
        text
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for (child, _, _) in &mut self.children {
            // It may have ended by itself.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn read_all(file: &File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().expect("a temporary file").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("a temporary file is read");
    String::from_utf8_lossy(&bytes).into_owned()
}
