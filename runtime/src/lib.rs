//! A thread-per-core io_uring runtime: one pinned shard a core, hosted on glommio.
