//! Tests with real sockets, real files, real processes.
