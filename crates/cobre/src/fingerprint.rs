//! A fingerprint of the optimisation problem, to tell which policy belongs to which problem.

use cobre_lp::{Csc, Outcome, StageLp};
use cobre_sddp::{Problem, Risk, Transition};
use sha2::{Digest, Sha256};

/// SHA-256, in hexadecimal, of everything that has a part in the result: states, nodes, arcs, risk measures, stage
/// problems and openings. Names of rows and columns have none.
pub fn fingerprint(problem: &Problem) -> String {
    let mut hash = Hash(Sha256::new());
    hash.count(problem.states.len());
    for state in &problem.states {
        hash.text(&state.name);
        hash.numbers(&[state.initial]);
    }
    hash.arcs(&problem.root);
    hash.risk(&problem.root_risk);
    hash.count(problem.nodes.len());
    for node in &problem.nodes {
        hash.text(&node.name);
        hash.count(node.stage);
        hash.stage(&node.lp);
        hash.count(node.openings.len());
        for opening in &node.openings {
            hash.numbers(&[opening.probability]);
            hash.outcome(&opening.outcome);
        }
        hash.arcs(&node.children);
        hash.risk(&node.risk);
        hash.numbers(&[if node.children.is_empty() { 0.0 } else { node.cost_to_go_bound }]);
    }
    hexadecimal(&hash.0.finalize())
}

/// SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).expect("half a byte is a digit");
        text.extend([digit(byte >> 4), digit(byte & 15)]);
        text
    })
}

/// The bytes of hexadecimal digits; `None` when the text is something else.
pub(crate) fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| Some(digit.to_digit(16)? as u8)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// Every sequence goes in with its length, so that no two problems give the same bytes.
struct Hash(Sha256);

impl Hash {
    fn count(&mut self, value: usize) {
        self.0.update((value as u64).to_le_bytes());
    }

    fn counts(&mut self, values: &[usize]) {
        self.count(values.len());
        for &value in values {
            self.count(value);
        }
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text);
    }

    fn numbers(&mut self, values: &[f64]) {
        self.count(values.len());
        for value in values {
            self.0.update(value.to_bits().to_le_bytes());
        }
    }

    fn pairs(&mut self, pairs: &[[f64; 2]]) {
        self.count(pairs.len());
        for pair in pairs {
            self.numbers(pair);
        }
    }

    fn places(&mut self, places: &[(usize, usize)]) {
        self.count(places.len());
        for &(row, column) in places {
            self.counts(&[row, column]);
        }
    }

    fn arcs(&mut self, arcs: &[Transition]) {
        self.count(arcs.len());
        for arc in arcs {
            self.count(arc.child);
            self.numbers(&[arc.probability, arc.discount]);
        }
    }

    fn risk(&mut self, risk: &Risk) {
        self.text(&format!("{risk:?}"));
    }

    fn matrix(&mut self, matrix: &Csc) {
        self.count(matrix.rows());
        self.count(matrix.columns());
        for column in 0..matrix.columns() {
            let entries = matrix.column(column);
            self.count(entries.len());
            for (row, value) in entries {
                self.count(row);
                self.numbers(&[value]);
            }
        }
    }

    fn stage(&mut self, stage: &StageLp) {
        self.matrix(&stage.matrix);
        self.matrix(&stage.incoming);
        self.counts(&stage.outgoing);
        for bounds in
            [&stage.row_lower, &stage.row_upper, &stage.col_lower, &stage.col_upper, &stage.col_cost]
        {
            self.numbers(bounds);
        }
        self.count(stage.piecewise.len());
        for piecewise in &stage.piecewise {
            self.count(piecewise.column);
            self.numbers(&piecewise.breakpoints);
            self.numbers(&piecewise.slopes);
        }
        self.counts(&stage.noise.rows);
        self.counts(&stage.noise.columns);
        self.counts(&stage.noise.costs);
        self.places(&stage.noise.matrix);
        self.places(&stage.noise.incoming);
    }

    fn outcome(&mut self, outcome: &Outcome) {
        self.pairs(&outcome.rows);
        self.pairs(&outcome.columns);
        self.numbers(&outcome.costs);
        self.numbers(&outcome.matrix);
        self.numbers(&outcome.incoming);
    }
}
