//! Linux: the kernel's own events, and what uprobes in a program show.

pub mod bpf;
