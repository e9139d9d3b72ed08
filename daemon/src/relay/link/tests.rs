//! Two regions over streams in memory.
