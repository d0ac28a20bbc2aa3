//! Cells: numbers that one worker writes and any thread reads, without a lock.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds one. Only the owning worker may call this, since it is a plain load and store. That makes it cheap.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number. Only the owning worker may call this.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// Returns the count.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A number that goes up and down. One thread writes it, and any thread reads it.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one. Only the owning worker may call this.
    pub fn rise(&self) {
        self.0.store(self.0.load(Relaxed) + 1, Relaxed);
    }

    /// Subtracts one, and stops at 0. Only the owning worker may call this.
    pub fn fall(&self) {
        self.0.store(self.0.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Sets the number. Only the owning worker may call this.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// Sets the number with `Release`: whoever reads it by [`Gauge::seen`] sees everything that was set before. Only
    /// the owning worker may call this.
    pub fn publish(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// Returns the number with `Acquire`, to go with [`Gauge::publish`].
    pub fn seen(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// Returns the number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}
