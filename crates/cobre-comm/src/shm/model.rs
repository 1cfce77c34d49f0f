//! The protocol under a model checker.
