//! Values for tests.

use heaptide_policy::Policy;
use heaptide_protocol::SessionId;
use heaptide_protocol::control::{PolicyState, Pulse, SessionState, SessionSummary};
use heaptide_protocol::session::{Clock, ClockKind, PlatformSignature};

pub(crate) fn signature() -> PlatformSignature {
    PlatformSignature {
        os: "linux".into(),
        os_version: String::new(),
        kernel: "6.18".into(),
        architecture: "x86_64".into(),
        cpus: 2,
        page_size_bytes: 4096,
        huge_page_mode: "madvise".into(),
        libc: String::new(),
        runtime: "go".into(),
        runtime_version: "go1.27.3".into(),
        build_id: String::new(),
        host_name: "host".into(),
        boot_id: String::new(),
        pid: 7,
        executable: "/srv/shop".into(),
        command_line: vec!["shop".into()],
        collector_version: "0.1.0".into(),
        clock: Clock {
            kind: ClockKind::LinuxMonotonic,
            session_ns: 0,
            unix_ns: 0,
            error_ns: 0,
        },
    }
}

pub(crate) fn summary(id: u8) -> SessionSummary {
    SessionSummary {
        session: SessionId([id; 16]),
        signature: signature(),
        labels: Default::default(),
        capabilities: Vec::new(),
        state: SessionState::Live,
        first_ns: 0,
        last_ns: 0,
        frames: 5,
        stored_bytes: 0,
        rate_write_granted: true,
        policy: PolicyState {
            applied: Some(Policy::default()),
            ..PolicyState::default()
        },
        pulse: None,
    }
}

pub(crate) fn pulse(timestamp_ns: u64, live_bytes: f64) -> Pulse {
    Pulse {
        timestamp_ns,
        rss_bytes: 0,
        live_bytes,
        live_std_error_bytes: 0.0,
        allocated_bytes_per_s: 0.0,
        samples_per_s: 0.0,
        dropped: 0,
        seen: 0,
        sampling_rate_bytes: 0,
        collector_cpu_permille: 0,
        collector_rss_bytes: 0,
        sent_bytes_per_s: 0,
        host_available_bytes: 0,
        host_total_bytes: 0,
    }
}
