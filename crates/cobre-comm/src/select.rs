//! Which backend a job uses: first the features of the build, then `COBRE_COMM_BACKEND` and what launchers set.

use crate::BackendError;
use crate::CommBackend;
use crate::LocalBackend;
#[cfg(feature = "mpi")]
use crate::MpiSession;
#[cfg(any(feature = "shm", feature = "tcp"))]
use crate::StallObserver;
#[cfg(feature = "shm")]
use crate::{ShmBackend, ShmConfig};
#[cfg(feature = "tcp")]
use crate::{TcpBackend, TcpConfig};

/// The variable that names the backend: `auto` (as without it), `mpi`, `tcp`, `shm` or `local`.
pub const BACKEND_VARIABLE: &str = "COBRE_COMM_BACKEND";

/// The backends there are, in the order in which `auto` prefers them.
const WORDS: [&str; 4] = ["mpi", "tcp", "shm", "local"];
const COMPILED: [bool; 4] = [cfg!(feature = "mpi"), cfg!(feature = "tcp"), cfg!(feature = "shm"), true];

const TCP_IDENTITY: [&str; 3] = ["COBRE_TCP_COORDINATOR", "COBRE_TCP_RANK", "COBRE_TCP_SIZE"];
const TCP_SETTINGS: [&str; 4] =
    ["COBRE_TCP_PORT", "COBRE_TCP_BIND_ADDR", "COBRE_TCP_CONNECT_TIMEOUT_MS", "COBRE_TCP_TIMEOUT_SECS"];
const SHM_IDENTITY: [&str; 3] = ["COBRE_SHM_NAME", "COBRE_SHM_RANK", "COBRE_SHM_SIZE"];
const SHM_SETTINGS: [&str; 1] = ["COBRE_SHM_TIMEOUT_SECS"];

/// What launchers of MPI programs set for every process. Slurm's variables are apart: batch scripts carry them too.
const LAUNCHERS: [&str; 7] = [
    "PMI_RANK",
    "PMI_SIZE",
    "OMPI_COMM_WORLD_RANK",
    "OMPI_COMM_WORLD_SIZE",
    "MPI_LOCALRANKID",
    "PMIX_RANK",
    "PALS_RANKID",
];
const SLURM_RANK: &str = "SLURM_PROCID";
const LAUNCHED_SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_NTASKS"];
const LAUNCHED_RANKS: [&str; 5] =
    ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "PALS_RANKID", "MPI_LOCALRANKID"];

/// Where variables come from: the environment, or a table.
type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A backend with what it has to know. Given by a program, it leaves the environment unread, except for
/// [`Auto`](Self::Auto), which is what [`BackendKind::from_env`] makes of it.
#[derive(Debug, Default)]
pub enum BackendKind {
    /// What the environment says.
    #[default]
    Auto,
    /// The ranks that an MPI started.
    #[cfg(feature = "mpi")]
    Mpi,
    /// Ranks over TCP.
    #[cfg(feature = "tcp")]
    Tcp(TcpConfig),
    /// Ranks of one machine over shared memory.
    #[cfg(feature = "shm")]
    Shm(ShmConfig),
    /// One process.
    Local,
}

/// A started backend, and MPI where it is that: it stays on the thread that started it and is dropped last.
///
/// ```
/// use cobre_comm::{BackendKind, Communicator, Session};
/// let session = Session::start(BackendKind::Local)?;
/// assert_eq!((session.comm().rank(), session.comm().size()), (0, 1));
/// # Ok::<(), cobre_comm::BackendError>(())
/// ```
#[derive(Debug)]
pub struct Session {
    // Fields are dropped in this order: the communicator before MPI.
    backend: CommBackend,
    name: &'static str,
    #[cfg(feature = "mpi")]
    _mpi: Option<MpiSession>,
}

/// The backends of this build, in the order in which `auto` prefers them.
pub fn compiled_backends() -> Vec<&'static str> {
    available(COMPILED)
}

impl BackendKind {
    /// What `COBRE_COMM_BACKEND` and the variables of launchers and backends say; never [`Auto`](Self::Auto).
    ///
    /// # Errors
    /// [`BackendError::InvalidBackend`] for an unknown word; [`BackendError::BackendNotAvailable`] for a backend that
    /// this build does not contain, also when only a launcher or a backend's own variables ask for it;
    /// [`BackendError::MissingConfiguration`] when some of a backend's variables are set and others missing;
    /// [`BackendError::InitializationFailed`] for values that mean nothing.
    pub fn from_env() -> Result<Self, BackendError> {
        Self::from_variables(&|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`from_env`](Self::from_env), from any source of variables.
    ///
    /// # Errors
    /// As there.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Result<Self, BackendError> {
        match choose(variable, COMPILED)? {
            #[cfg(feature = "mpi")]
            "mpi" => Ok(Self::Mpi),
            #[cfg(feature = "tcp")]
            "tcp" => TcpConfig::from_variables(&|name| Ok(variable(name))).map(Self::Tcp),
            #[cfg(feature = "shm")]
            "shm" => ShmConfig::from_variables(variable).map(Self::Shm),
            _ => Ok(Self::Local),
        }
    }

    /// Has `observer` called while a collective waits for ranks that live but do not come, where the backend can tell.
    #[cfg(any(feature = "shm", feature = "tcp"))]
    #[must_use]
    pub fn observing_stalls(mut self, observer: StallObserver) -> Self {
        match &mut self {
            #[cfg(feature = "tcp")]
            Self::Tcp(config) => config.on_stall = Some(observer),
            #[cfg(feature = "shm")]
            Self::Shm(config) => config.on_stall = Some(observer),
            _ => {}
        }
        self
    }
}

impl Session {
    /// Starts a backend; returns when all ranks have. Collectives are called on the thread that called this.
    ///
    /// # Errors
    /// Those of [`BackendKind::from_env`] for [`BackendKind::Auto`], and those of the backend's start.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a listening socket in it is closed once ranks have met"
    )]
    pub fn start(kind: BackendKind) -> Result<Self, BackendError> {
        match kind {
            BackendKind::Auto => Self::start(BackendKind::from_env()?),
            #[cfg(feature = "mpi")]
            BackendKind::Mpi => {
                let mpi = MpiSession::start()?;
                Ok(Self { backend: CommBackend::Mpi(mpi.backend()?), name: "mpi", _mpi: Some(mpi) })
            }
            #[cfg(feature = "tcp")]
            BackendKind::Tcp(config) => {
                Ok(Self::alone(CommBackend::Tcp(TcpBackend::connect(&config)?), "tcp"))
            }
            #[cfg(feature = "shm")]
            BackendKind::Shm(config) => {
                Ok(Self::alone(CommBackend::Shm(ShmBackend::connect(&config)?), "shm"))
            }
            BackendKind::Local => Ok(Self::alone(local(), "local")),
        }
    }

    fn alone(backend: CommBackend, name: &'static str) -> Self {
        Self {
            backend,
            name,
            #[cfg(feature = "mpi")]
            _mpi: None,
        }
    }

    /// The communicator of the job.
    pub fn comm(&self) -> &CommBackend {
        &self.backend
    }

    /// The backend's word: `mpi`, `tcp`, `shm` or `local`.
    pub fn backend_name(&self) -> &'static str {
        self.name
    }
}

#[cfg(any(feature = "mpi", feature = "shm", feature = "tcp"))]
fn local() -> CommBackend {
    CommBackend::Local(LocalBackend)
}

#[cfg(not(any(feature = "mpi", feature = "shm", feature = "tcp")))]
fn local() -> CommBackend {
    LocalBackend
}

fn available(compiled: [bool; 4]) -> Vec<&'static str> {
    WORDS.into_iter().zip(compiled).filter_map(|(word, is_there)| is_there.then_some(word)).collect()
}

/// The word of the backend to use in a build that contains `compiled`, in the order of [`WORDS`].
fn choose(variable: &Variables<'_>, compiled: [bool; 4]) -> Result<&'static str, BackendError> {
    let asked = variable(BACKEND_VARIABLE).unwrap_or_else(|| "auto".to_owned());
    if let Some(place) = WORDS.iter().position(|word| *word == asked) {
        return available_or(WORDS[place], BACKEND_VARIABLE, compiled);
    }
    if asked != "auto" {
        return Err(BackendError::InvalidBackend { requested: asked, available: available(compiled) });
    }
    let find_set =
        |names: &'static [&'static str]| names.iter().find(|name| variable(name).is_some()).copied();
    let launcher = find_set(&LAUNCHERS).or_else(|| slurm_tasks(variable).map(|_| SLURM_RANK));
    // A setting without a rank is a job that was not described to its end: the backend says what is missing.
    let configured = [
        ("tcp", TCP_IDENTITY.as_slice()),
        ("shm", &SHM_IDENTITY),
        ("tcp", &TCP_SETTINGS),
        ("shm", &SHM_SETTINGS),
    ];
    let configured = configured.into_iter().find_map(|(word, names)| Some((word, find_set(names)?)));
    match (configured, launcher) {
        (_, Some(setting)) if compiled[0] => available_or("mpi", setting, compiled),
        (Some((word, setting)), _) => available_or(word, setting, compiled),
        (None, Some(setting)) if has_peers(variable) => available_or("mpi", setting, compiled),
        _ => Ok("local"),
    }
}

/// The word of a backend that `setting` asks for, when the build contains it.
fn available_or(
    word: &'static str,
    setting: &'static str,
    compiled: [bool; 4],
) -> Result<&'static str, BackendError> {
    let available = available(compiled);
    if available.contains(&word) {
        return Ok(word);
    }
    Err(BackendError::BackendNotAvailable { setting, requested: word.to_owned(), available })
}

/// The number of tasks of the Slurm step that started this process, when there are several: outside a step, Slurm's
/// variables are those of a batch script.
fn slurm_tasks(variable: &Variables<'_>) -> Option<usize> {
    variable(SLURM_RANK)?;
    variable("SLURM_STEP_ID")?;
    let tasks = variable("SLURM_NTASKS")?.trim().parse().ok()?;
    (tasks > 1).then_some(tasks)
}

/// Whether a launcher may have started more than this process: it says so, this is not the first, or it does not tell.
fn has_peers(variable: &Variables<'_>) -> bool {
    let numbers = |names: &[&str]| -> Vec<usize> {
        names.iter().filter_map(|name| variable(name)?.trim().parse().ok()).collect()
    };
    let sizes = numbers(&LAUNCHED_SIZES);
    let is_first = numbers(&LAUNCHED_RANKS).iter().all(|&rank| rank == 0);
    sizes.is_empty() || sizes.iter().any(|&size| size > 1) || !is_first
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [bool; 4] = [true; 4];
    const NONE: [bool; 4] = [false, false, false, true];
    const NO_MPI: [bool; 4] = [false, true, true, true];

    fn every_build() -> impl Iterator<Item = [bool; 4]> {
        (0..8).map(|bits| [bits & 1 > 0, bits & 2 > 0, bits & 4 > 0, true])
    }

    fn find(set: &[(&str, &str)], name: &str) -> Option<String> {
        set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    fn chosen(set: &[(&str, &str)], compiled: [bool; 4]) -> Result<&'static str, String> {
        choose(&|name| find(set, name), compiled).map_err(|error| match error {
            BackendError::BackendNotAvailable { setting, requested, available: known } => {
                assert_eq!(known, available(compiled));
                assert!(set.iter().any(|(name, _)| *name == setting), "{setting} is not set");
                format!("not available: {requested}")
            }
            BackendError::InvalidBackend { requested, available: known } => {
                assert_eq!(known, available(compiled));
                format!("invalid: {requested}")
            }
            other => panic!("{other}"),
        })
    }

    fn unavailable(word: &str) -> Result<&'static str, String> {
        Err(format!("not available: {word}"))
    }

    #[test]
    fn words_choose_whatever_else_is_set() {
        let noise = [("PMI_SIZE", "4"), ("COBRE_TCP_RANK", "1"), ("COBRE_SHM_NAME", "/a")];
        for compiled in every_build() {
            for (word, is_there) in WORDS.into_iter().zip(compiled) {
                let expected = if is_there { Ok(word) } else { unavailable(word) };
                assert_eq!(chosen(&[(BACKEND_VARIABLE, word)], compiled), expected);
                let set = [noise.as_slice(), &[(BACKEND_VARIABLE, word)]].concat();
                assert_eq!(chosen(&set, compiled), expected);
            }
            for word in ["", "MPI", "gloo", " shm"] {
                let expected = Err(format!("invalid: {word}"));
                assert_eq!(chosen(&[(BACKEND_VARIABLE, word)], compiled), expected);
            }
            assert_eq!(chosen(&[], compiled), Ok("local"));
            assert_eq!(chosen(&[(BACKEND_VARIABLE, "auto")], compiled), Ok("local"));
        }
    }

    #[test]
    fn auto_prefers_mpi_then_tcp_then_shm() {
        let launcher = ("PMIX_RANK", "0");
        let tcp = ("COBRE_TCP_COORDINATOR", "node1");
        let shm = ("COBRE_SHM_NAME", "/a");
        for compiled in every_build() {
            let if_there = |place: usize| {
                if compiled[place] { Ok(WORDS[place]) } else { unavailable(WORDS[place]) }
            };
            let beside_mpi = |other| if compiled[0] { Ok("mpi") } else { other };
            assert_eq!(chosen(&[launcher], compiled), beside_mpi(unavailable("mpi")), "it tells no size");
            assert_eq!(chosen(&[launcher, tcp, shm], compiled), beside_mpi(if_there(1)));
            assert_eq!(chosen(&[launcher, shm], compiled), beside_mpi(if_there(2)));
            assert_eq!(chosen(&[tcp, shm], compiled), if_there(1));
            assert_eq!(chosen(&[shm], compiled), if_there(2));
        }
    }

    #[test]
    fn any_variable_of_a_backend_means_the_backend() {
        let tcp = TCP_IDENTITY.iter().chain(&TCP_SETTINGS).map(|name| (*name, "tcp"));
        let shm = SHM_IDENTITY.iter().chain(&SHM_SETTINGS).map(|name| (*name, "shm"));
        for (name, word) in tcp.chain(shm) {
            assert_eq!(chosen(&[(name, "1")], ALL), Ok(word), "{name}");
            assert_eq!(chosen(&[(name, "1")], NONE), unavailable(word), "{name}");
        }
        // Who describes a job over shared memory may have set a timeout of the other backend as well.
        let set = [("COBRE_TCP_TIMEOUT_SECS", "2"), ("COBRE_SHM_RANK", "0")];
        assert_eq!(chosen(&set, ALL), Ok("shm"));
    }

    #[test]
    fn launchers_are_seen_and_never_left_alone_silently() {
        for name in LAUNCHERS {
            assert_eq!(chosen(&[(name, "0")], ALL), Ok("mpi"), "{name}");
            assert_eq!(chosen(&[(name, "3")], NO_MPI), unavailable("mpi"), "{name}");
            assert_eq!(chosen(&[(name, "3"), ("COBRE_SHM_RANK", "0")], NO_MPI), Ok("shm"), "{name}");
        }
        for alone in [
            [("PMI_RANK", "0"), ("PMI_SIZE", "1")],
            [("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")],
            [("PMIX_RANK", "0"), ("SLURM_NTASKS", "1")],
        ] {
            assert_eq!(chosen(&alone, NO_MPI), Ok("local"));
        }
        assert_eq!(chosen(&[("PMI_RANK", "0"), ("PMI_SIZE", "4")], NO_MPI), unavailable("mpi"));
    }

    #[test]
    fn whatever_asks_for_an_absent_backend_is_named() {
        let asks = |set: &[(&str, &str)], compiled| match choose(&|name| find(set, name), compiled) {
            Err(BackendError::BackendNotAvailable { setting, requested, .. }) => (setting, requested),
            other => panic!("{set:?}: {other:?}"),
        };
        let noise = ("COBRE_TCP_TIMEOUT_SECS", "2");
        let slurm = [("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "4")];
        for (set, setting, word) in [
            (vec![("PMI_SIZE", "2"), (BACKEND_VARIABLE, "mpi")], BACKEND_VARIABLE, "mpi"),
            (vec![("PMI_SIZE", "2"), ("PMI_RANK", "0")], "PMI_RANK", "mpi"),
            (slurm.to_vec(), "SLURM_PROCID", "mpi"),
            (vec![("PMIX_RANK", "0"), ("COBRE_TCP_SIZE", "2")], "COBRE_TCP_SIZE", "tcp"),
            (vec![noise, ("COBRE_SHM_RANK", "0")], "COBRE_SHM_RANK", "shm"),
            (vec![noise], "COBRE_TCP_TIMEOUT_SECS", "tcp"),
        ] {
            assert_eq!(asks(&set, NONE), (setting, word.to_owned()), "{set:?}");
        }
    }

    #[test]
    fn slurm_counts_inside_a_step_of_several_tasks() {
        let (rank, step, tasks) = (("SLURM_PROCID", "0"), ("SLURM_STEP_ID", "0"), ("SLURM_NTASKS", "4"));
        assert_eq!(chosen(&[rank, step, tasks], ALL), Ok("mpi"));
        assert_eq!(chosen(&[rank, step, tasks], NO_MPI), unavailable("mpi"));
        let one = ("SLURM_NTASKS", "1");
        for set in [vec![rank], vec![rank, tasks], vec![rank, step], vec![step, tasks], vec![rank, step, one]]
        {
            assert_eq!(chosen(&set, ALL), Ok("local"), "{set:?}");
            assert_eq!(chosen(&set, NO_MPI), Ok("local"), "{set:?}");
        }
    }

    #[test]
    fn the_build_is_what_its_features_say() {
        let words = compiled_backends();
        assert_eq!(words.last(), Some(&"local"));
        for (word, is_there) in
            [("mpi", cfg!(feature = "mpi")), ("tcp", cfg!(feature = "tcp")), ("shm", cfg!(feature = "shm"))]
        {
            assert_eq!(words.contains(&word), is_there);
            let kind = BackendKind::from_variables(&|name| find(&[(BACKEND_VARIABLE, word)], name));
            let is_unavailable = matches!(kind, Err(BackendError::BackendNotAvailable { .. }));
            assert_eq!(is_unavailable, !is_there, "{word}");
        }
    }

    #[cfg(all(feature = "shm", feature = "tcp"))]
    #[test]
    fn half_a_description_names_the_other_half() {
        let missing = |set: &[(&str, &str)]| match BackendKind::from_variables(&|name| find(set, name)) {
            Err(BackendError::MissingConfiguration { missing_vars, .. }) => missing_vars,
            other => panic!("{set:?}: {other:?}"),
        };
        assert_eq!(missing(&[("COBRE_TCP_RANK", "0")]), ["COBRE_TCP_SIZE"]);
        assert_eq!(missing(&[("COBRE_TCP_COORDINATOR", "a")]), ["COBRE_TCP_RANK", "COBRE_TCP_SIZE"]);
        assert_eq!(missing(&[("COBRE_TCP_PORT", "1")]).len(), 3);
        assert_eq!(missing(&[("COBRE_SHM_RANK", "0")]), ["COBRE_SHM_NAME", "COBRE_SHM_SIZE"]);
        assert_eq!(missing(&[("COBRE_SHM_TIMEOUT_SECS", "2")]).len(), 3);
        assert_eq!(missing(&[(BACKEND_VARIABLE, "shm")]).len(), 3);
        assert_eq!(missing(&[(BACKEND_VARIABLE, "tcp")]).len(), 3);
        let whole = [("COBRE_SHM_NAME", "/a"), ("COBRE_SHM_RANK", "1"), ("COBRE_SHM_SIZE", "2")];
        match BackendKind::from_variables(&|name| find(&whole, name)) {
            Ok(BackendKind::Shm(config)) => {
                assert_eq!((config.name.as_str(), config.rank, config.size), ("/a", 1, 2));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_local_session_works() {
        use crate::Communicator;
        let session = Session::start(BackendKind::Local).unwrap();
        assert_eq!(session.backend_name(), "local");
        session.comm().barrier().unwrap();
        assert_eq!(session.comm().size(), 1);
    }

    #[cfg(all(feature = "shm", feature = "tcp"))]
    #[test]
    fn regions_of_every_backend_are_one_type() {
        use crate::{SharedMemoryProvider, SharedRegion};
        let alone = [
            BackendKind::Local,
            BackendKind::Tcp(TcpConfig::new(0, 1, "127.0.0.1")),
            BackendKind::Shm(ShmConfig::new(format!("/cobre-select-{}", std::process::id()), 0, 1)),
        ];
        for kind in alone {
            let session = Session::start(kind).unwrap();
            let mut region = session.comm().create_shared_region::<u64>(3).unwrap();
            region.as_mut_slice().copy_from_slice(&[1, 2, 3]);
            region.fence().unwrap();
            assert_eq!(region.as_slice(), [1, 2, 3]);
            assert!(session.comm().is_leader());
            assert_eq!(session.comm().split_local().unwrap().size(), 1);
            assert_eq!(session.comm().name(), session.backend_name());
        }
    }
}
