//! Progress of long work, as data. How it looks is the business of front ends.

/// The part of Cobre an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum System {
    /// Training of a policy.
    Train,
    /// Simulation of a policy.
    Simulate,
}

impl System {
    /// The word used in Python and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Simulate => "simulate",
        }
    }
}

/// Where in its job a system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// The job has begun; totals are known.
    Started,
    /// One more unit (an iteration, a block of scenarios) is complete.
    Progress,
    /// The job is over, whatever ended it.
    Finished,
}

impl Phase {
    /// The word used in Python and in files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Progress => "progress",
            Self::Finished => "finished",
        }
    }
}

/// One step of progress. The same type for all systems.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Who speaks.
    pub system: System,
    /// Beginning, middle or end.
    pub phase: Phase,
    /// Iteration (training) or 0; 1-based.
    pub iteration: u64,
    /// Units complete.
    pub done: u64,
    /// Units in total, when known in advance.
    pub total: Option<u64>,
    /// Named figures, e.g. `lower_bound` in $.
    pub metrics: Vec<(&'static str, f64)>,
    /// Seconds since the job began.
    pub elapsed_secs: f64,
    /// Rank in a job of several processes; `None` in a job of one.
    pub worker_id: Option<u32>,
}

impl Event {
    /// The figure called `name`, when the event carries it.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// Receives the events of a job, in order, from the thread that runs the job.
pub trait EventSink: Sync {
    /// Takes one event; must not block for long.
    fn emit(&self, event: Event);
}

impl<F: Fn(Event) + Sync> EventSink for F {
    fn emit(&self, event: Event) {
        self(event);
    }
}
