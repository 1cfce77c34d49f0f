//! What the launcher that started this process says about the job.

/// The variables that hold the number of ranks: of Open MPI, of the process managers of MPICH, and of Slurm.
const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

/// The number of ranks that the launcher means to have started and the variable that says so. The variables of a
/// launcher count before those of Slurm, which starts launchers too.
pub(super) fn announced_size(variable: impl Fn(&str) -> Option<String>) -> Option<(&'static str, usize)> {
    SIZES.into_iter().find_map(|name| Some((name, variable(name)?.trim().parse().ok()?)))
}

/// Why a process that MPI believes to be alone is not, if so.
pub(super) fn strangers(
    world_size: usize,
    library: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<String> {
    let (name, announced) = announced_size(variable)?;
    (world_size == 1 && announced > 1).then(|| {
        let library = library.lines().next().unwrap_or_default().trim();
        format!(
            "{name} says that {announced} ranks were started, but each is alone: this program was built with \
             {library} and the launcher belongs to another MPI"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launcher_of_another_library_is_found_out() {
        let of = |size: usize, set: &'static [(&'static str, &'static str)]| {
            strangers(size, "MPICH Version: 4.0.2\nmore", move |name| {
                set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(of(1, &[]), None);
        assert_eq!(of(1, &[("PMI_SIZE", "1")]), None);
        assert_eq!(of(4, &[("PMI_SIZE", "4")]), None);
        assert_eq!(of(1, &[("OMPI_COMM_WORLD_SIZE", "1"), ("SLURM_STEP_NUM_TASKS", "2")]), None);
        let text = of(1, &[("OMPI_COMM_WORLD_SIZE", "4")]).unwrap();
        assert!(text.starts_with("OMPI_COMM_WORLD_SIZE says that 4 ranks"));
        assert!(text.contains("built with MPICH Version: 4.0.2 and"), "{text}");
    }
}
