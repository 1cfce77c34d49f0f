//! Ranks that an MPI's launcher starts: each runs a test of this program again.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// Set in a rank's environment.
const IS_RANK: &str = "COBRE_TEST_MPI_RANK";
/// The launcher to use, for a library that has another than those known here.
const LAUNCHER: &str = "COBRE_MPIRUN";

/// Whether this process is a rank.
pub fn is_rank() -> bool {
    std::env::var_os(IS_RANK).is_some()
}

/// The launchers of a library, and a word in what they say of themselves.
fn launchers_of(library: &str) -> (&'static [&'static str], &'static str) {
    if library.starts_with("Open MPI") {
        (&["mpirun.openmpi", "mpirun"], "Open MPI")
    } else if library.starts_with("Intel") {
        (&["mpirun"], "Intel")
    } else {
        (&["mpirun.mpich", "mpiexec.hydra", "mpirun"], "HYDRA")
    }
}

/// The first of the launchers that is there and belongs to the library.
fn find(names: &[&str], word: &str) -> Option<String> {
    let belongs = |name: &&&str| {
        let told = Command::new(name).arg("--version").stdin(Stdio::null()).output();
        told.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(word))
    };
    names.iter().find(belongs).map(|name| (*name).to_owned())
}

/// The launcher of the library with this version text.
pub fn launcher(library: &str) -> Option<String> {
    std::env::var(LAUNCHER).ok().or_else(|| {
        let (names, word) = launchers_of(library);
        find(names, word)
    })
}

/// A launcher that belongs to another library than the one with this version text.
pub fn foreign_launcher(library: &str) -> Option<String> {
    let other = if library.starts_with("Open MPI") { "MPICH" } else { "Open MPI" };
    let (names, word) = launchers_of(other);
    find(names, word)
}

/// A launcher at work, killed with its ranks when dropped.
pub struct Job {
    launcher: Child,
    stdout: File,
    stderr: File,
    has_ended: bool,
}

/// How a job ended, and what its ranks printed.
#[derive(Debug)]
pub struct JobEnd {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Job {
    /// Starts `size` ranks that run the test `test` of this program; without a launcher, one.
    pub fn start(launcher: Option<&str>, test: &str, size: usize, environment: &[(&str, &str)]) -> Self {
        use std::os::unix::process::CommandExt;
        let program = std::env::current_exe().expect("the path of the test program");
        let mut command = Command::new(launcher.map_or(program.as_os_str(), AsRef::as_ref));
        if launcher.is_some() {
            command.args(["-n", &size.to_string()]).arg(&program);
        }
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let launcher = command
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(IS_RANK, "1")
            // Open MPI asks these of whoever is root, or has more ranks than processors.
            .envs([
                ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
                ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
                ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
                ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
            ])
            .envs(environment.iter().copied())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .expect("the launcher starts");
        Self { launcher, stdout, stderr, has_ended: false }
    }

    /// Waits for the job; panics with what was printed when it does not end in time.
    pub fn wait(mut self, limit: Duration) -> JobEnd {
        let started = Instant::now();
        loop {
            if let Some(status) = self.launcher.try_wait().expect("a child") {
                self.has_ended = true;
                return JobEnd { status, stdout: read_all(&self.stdout), stderr: read_all(&self.stderr) };
            }
            let transcript = || format!("{}{}", read_all(&self.stdout), read_all(&self.stderr));
            assert!(started.elapsed() < limit, "the job is still running after {limit:?}:\n{}", transcript());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// As [`wait`](Self::wait); panics unless the job ended well.
    pub fn succeed(self, limit: Duration) -> JobEnd {
        let end = self.wait(limit);
        assert!(end.status.success(), "{}\n{}{}", end.status, end.stdout, end.stderr);
        end
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let group = Pid::from_child(&self.launcher);
        // A launcher that is asked takes its ranks along, also those in groups of their own.
        let _ = kill_process_group(group, Signal::TERM);
        for _ in 0..1_000 {
            if self.launcher.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = kill_process_group(group, Signal::KILL);
        drop(self.launcher.wait());
    }
}

fn read_all(file: &File) -> String {
    use std::os::unix::fs::FileExt;
    let mut bytes = vec![0; file.metadata().expect("a temporary file").len() as usize];
    file.read_exact_at(&mut bytes, 0).expect("a temporary file is read");
    String::from_utf8_lossy(&bytes).into_owned()
}
