//! Every dialect of the samples, as snapshots.
