//! Why a job failed, in the one word that all ranks read.

/// The cause that the poison word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A rank died.
    Died { rank: usize },
    /// A rank left while others waited for it.
    Left { rank: usize },
    /// A rank did not come within the time the user set.
    Stalled { rank: usize },
    /// Two ranks called what does not fit.
    Mismatch { ranks: [usize; 2] },
    /// A rank refused its own arguments.
    Refused { rank: usize },
    /// A rank ended the job.
    Aborted { rank: usize, code: i32 },
}

impl Cause {
    /// The word, never 0.
    pub(super) fn encode(self) -> u64 {
        let word = |kind: u64, rank: usize, rest: u64| kind | (rank as u64) << 8 | rest << 32;
        match self {
            Self::Died { rank } => word(1, rank, 0),
            Self::Left { rank } => word(2, rank, 0),
            Self::Stalled { rank } => word(3, rank, 0),
            Self::Mismatch { ranks } => word(4, ranks[0], ranks[1] as u64),
            Self::Refused { rank } => word(5, rank, 0),
            Self::Aborted { rank, code } => word(6, rank, u64::from(code as u32)),
        }
    }

    /// The cause of a word that is not 0.
    pub(super) fn decode(word: u64) -> Self {
        let rank = (word >> 8 & 0xff_ffff) as usize;
        let rest = word >> 32;
        match word & 0xff {
            1 => Self::Died { rank },
            2 => Self::Left { rank },
            3 => Self::Stalled { rank },
            4 => Self::Mismatch { ranks: [rank, rest as usize] },
            6 => Self::Aborted { rank, code: rest as i32 },
            _ => Self::Refused { rank },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_survives_its_word() {
        for cause in [
            Cause::Died { rank: 0 },
            Cause::Left { rank: 7 },
            Cause::Stalled { rank: 1_023 },
            Cause::Mismatch { ranks: [1_000, 3] },
            Cause::Refused { rank: 2 },
            Cause::Aborted { rank: 1, code: -9 },
        ] {
            assert_ne!(cause.encode(), 0);
            assert_eq!(Cause::decode(cause.encode()), cause);
        }
    }
}
