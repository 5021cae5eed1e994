//! What the programs know about each watched process.

/// Processes that can be watched at the same time.
pub const TARGETS_MAX: u32 = 64;

/// Value of the map [`TARGETS`](crate::maps::TARGETS), by thread group id.
///
/// The offsets are of fields of Go's `runtime.g`, `runtime.m` and `runtime.special`, which change with the
/// Go version; 0 means unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct TargetConfig {
    /// Bit [`Class::bit`](crate::Class::bit) is set for each class that is to be sent.
    pub enabled: u32,
    /// `runtime._KindSpecialProfile`: 2 up to Go 1.22, 3 in 1.23 and 1.24, 4 from 1.25.
    pub kind_special_profile: u32,
    /// Offset of `g.goid`.
    pub g_goid: u32,
    /// Offset of `g.m`.
    pub g_m: u32,
    /// Offset of `m.curg`.
    pub m_curg: u32,
    /// Offset of `special.kind`: 10 up to Go 1.23, 16 from 1.24, where `special.offset` grew.
    pub special_kind: u32,
    /// Offset of `g.gopc`.
    pub g_gopc: u32,
    /// Offset of `g.sched.pc`.
    pub g_sched_pc: u32,
}

/// Words in [`TargetConfig`].
pub const TARGET_WORDS: usize = 8;

impl TargetConfig {
    /// The same bytes as words, for maps that are written without `unsafe`.
    #[must_use]
    pub const fn to_words(self) -> [u32; TARGET_WORDS] {
        [
            self.enabled,
            self.kind_special_profile,
            self.g_goid,
            self.g_m,
            self.m_curg,
            self.special_kind,
            self.g_gopc,
            self.g_sched_pc,
        ]
    }
}
