//! Compiles the inputs into a snapshot.
