//! Names of programs, maps and pins, written once. Never a path of one machine.

/// Folder on bpffs that holds one folder per instance.
pub const PIN_ROOT: &str = "/sys/fs/bpf/tidegate";
/// The XDP program that is attached to interfaces.
pub const PROGRAM: &str = "tidegate";
/// The same judgement without side effects: returns the encoded verdict, takes no credit, counts nothing.
pub const EXPLAIN: &str = "tidegate_explain";
