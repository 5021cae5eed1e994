//! The collector: what a program does with memory, from the machine that it runs on.

#[cfg(target_os = "linux")]
pub mod linux;
