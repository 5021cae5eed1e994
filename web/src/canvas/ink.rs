//! The colours of the canvases, by meaning. Their values are the stylesheet's.

use crate::flame::Hue;

/// Not a colour but the name of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ink {
    Flame(Hue),
    /// Frames that the search doesn't match.
    FlameDim,
    /// Runs of frames too narrow to draw one by one.
    FlameMerged,
    FlameText,
    FlameTextDim,
    Grid,
    AxisText,
    Live,
    LiveBand,
    Rss,
    Untracked,
    Allocated,
    AllocatedArea,
    Freed,
    GcSpan,
    Pause,
    Mark,
    MarkText,
    Gap,
}

impl Ink {
    /// One above the highest [`Ink::index`].
    pub const COUNT: usize = Hue::COUNT + 18;

    pub const fn index(self) -> usize {
        match self {
            Self::Flame(hue) => hue.index(),
            Self::FlameDim => Hue::COUNT,
            Self::FlameMerged => Hue::COUNT + 1,
            Self::FlameText => Hue::COUNT + 2,
            Self::FlameTextDim => Hue::COUNT + 3,
            Self::Grid => Hue::COUNT + 4,
            Self::AxisText => Hue::COUNT + 5,
            Self::Live => Hue::COUNT + 6,
            Self::LiveBand => Hue::COUNT + 7,
            Self::Rss => Hue::COUNT + 8,
            Self::Untracked => Hue::COUNT + 9,
            Self::Allocated => Hue::COUNT + 10,
            Self::AllocatedArea => Hue::COUNT + 11,
            Self::Freed => Hue::COUNT + 12,
            Self::GcSpan => Hue::COUNT + 13,
            Self::Pause => Hue::COUNT + 14,
            Self::Mark => Hue::COUNT + 15,
            Self::MarkText => Hue::COUNT + 16,
            Self::Gap => Hue::COUNT + 17,
        }
    }

    /// The custom properties in `style.css`, in the order of [`Ink::index`].
    pub const TOKENS: [&'static str; Self::COUNT] = [
        "--flame-0",
        "--flame-1",
        "--flame-2",
        "--flame-3",
        "--flame-4",
        "--flame-5",
        "--flame-6",
        "--flame-7",
        "--flame-runtime",
        "--flame-dim",
        "--flame-merged",
        "--flame-text",
        "--flame-text-dim",
        "--chart-grid",
        "--text-muted",
        "--chart-live",
        "--chart-live-band",
        "--chart-rss",
        "--chart-untracked",
        "--chart-alloc",
        "--chart-alloc-area",
        "--chart-freed",
        "--chart-gc",
        "--chart-pause",
        "--chart-mark",
        "--chart-mark-text",
        "--chart-gap",
    ];
}
