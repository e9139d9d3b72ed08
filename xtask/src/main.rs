//! Developer's commands: one file per task.

fn main() {}
