//! Memory that connections no longer need goes back to the system once a worker is quiet.
//!
//! mimalloc gives back the free parts of a segment (32 MiB) when a page of that segment is freed some time later. A worker
//! that has parked its connections frees no more pages, so their memory would stay. To ask the allocator takes `unsafe`. So
//! the worker frees pages: it takes blocks until there is one in every segment, frees all but one of each segment, and those
//! a moment later. With another allocator this has no effect, and costs a few milliseconds.

use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

/// Count of the connections whose memory may have become free.
#[derive(Debug, Default)]
pub(crate) struct Trim {
    /// Connections that opened, ended, were parked or served again since the last look.
    moves: Cell<usize>,
    /// The same, until that look.
    pending: Cell<usize>,
}

impl Trim {
    /// Notes that a connection opened, ended, was parked or serves again. Each of these frees memory, at once or later.
    pub(crate) fn moved(&self) {
        self.moves.set(self.moves.get() + 1);
    }

    /// Returns true if there is too little to give back.
    pub(crate) fn rests(&self) -> bool {
        self.moves.get() + self.pending.get() < LEAST_MOVES
    }

    /// Gives memory back if the worker has become quiet since the last look. To be called once a second.
    pub(crate) async fn look(&self) {
        let moves = self.moves.take();
        let pending = self.pending.get() + moves;
        // Where connections go on moving, they need the memory again.
        if pending < LEAST_MOVES || moves > pending / QUIET {
            return self.pending.set(pending);
        }
        self.pending.set(0);
        give_back((pending / MOVES_PER_BLOCK).clamp(LEAST_BLOCKS, MOST_BLOCKS)).await;
    }
}

/// Gives back the free memory of this thread, as far as this number of blocks reaches. Other tasks run in between.
async fn give_back(most: usize) {
    let (mut last, mut others, mut segments) = (Vec::new(), Vec::new(), HashSet::new());
    for number in 1..=most {
        let Some(block) = block(BLOCK) else { break };
        let of_segment = if segments.insert(block.as_ptr().addr() / SEGMENT) { &mut last } else { &mut others };
        of_segment.push(block);
        if number % BLOCKS_PER_TURN == 0 {
            yield_now().await;
        }
    }
    // Each of these lets its segment wait for a millisecond more.
    free(others, BLOCKS_PER_TURN).await;
    sleep(SEGMENT_DELAY).await;
    free(last, 1).await;
    sleep(WHOLE_SEGMENT_DELAY).await;
    // A block of this size has a segment of its own. When it is freed, all free segments go back.
    drop(block(WHOLE_SEGMENT));
}

/// Takes a block whose bytes are not used: the system gives memory for one page of it at most.
fn block(size: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    // Otherwise the compiler may leave out an allocation that nobody uses.
    block.try_reserve_exact(size).ok().map(|()| std::hint::black_box(block))
}

/// Frees blocks, this many at a time.
async fn free(mut blocks: Vec<Vec<u8>>, at_a_time: usize) {
    while !blocks.is_empty() {
        blocks.truncate(blocks.len().saturating_sub(at_a_time));
        yield_now().await;
    }
}

/// Moves from which giving back is worth the while: about a megabyte.
const LEAST_MOVES: usize = 64;

/// Divisor of the moves: a worker is quiet if the last second brought no more than this share of them.
const QUIET: usize = 8;

/// Size of a segment of mimalloc 2.
const SEGMENT: usize = 32 << 20;

/// Size that takes a segment of its own: more than half of one.
const WHOLE_SEGMENT: usize = 17 << 20;

/// Size of a block. From 64 KiB on, it has pages of its own.
const BLOCK: usize = 128 << 10;

/// Moves whose memory fits a block: 16 KiB each.
const MOVES_PER_BLOCK: usize = 8;

/// Least number of blocks, since free memory may be in many small pieces.
const LEAST_BLOCKS: usize = 128;

/// Most blocks: half a gigabyte. What is beyond goes back later.
const MOST_BLOCKS: usize = 4096;

/// Blocks that are taken or freed at a time: some 50 µs.
const BLOCKS_PER_TURN: usize = 32;

/// Time after which a segment's free parts can be given back: 10 ms, and one for each of its 256 blocks.
const SEGMENT_DELAY: Duration = Duration::from_millis(300);

/// The same for whole segments.
const WHOLE_SEGMENT_DELAY: Duration = Duration::from_millis(125);
