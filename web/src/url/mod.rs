//! Addresses: the path names the resource, the query holds the state of the view, so that a copied link
//! opens what its author saw.
//!
//! Pure. A link that can't be understood in part still opens the data: each part that was passed over gives
//! a sentence in [`Opened::problems`].

mod dashboard;
mod link;
mod percent;
mod view;

pub use dashboard::{fleet_range, name_of};
pub use link::{SharedAs, secret_of};
pub use view::{FleetSort, METRICS, MetricChoice, Range, VIEW_VERSION, ViewState, metric_key};

use dashboard::is_name;
use heaptide_analysis::report::ReportKind;
use heaptide_protocol::SessionId;
use percent::{decode, encode};

/// What the window shows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    pub page: Page,
    pub view: ViewState,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Page {
    #[default]
    Fleet,
    Session {
        id: SessionId,
        tab: Tab,
    },
    /// Sums by label; with a name, as somebody has saved them.
    Dashboards {
        name: String,
    },
    /// What the hub keeps beside the sessions.
    Hub,
    /// A path that this console doesn't know.
    Unknown {
        path: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tab {
    #[default]
    Live,
    Flame,
    Goroutines,
    Pauses,
    Mappings,
    Ledger,
    Drift,
    Exact,
    /// What can be observed here, and what can't and why.
    Doctor,
}

impl Tab {
    pub const ALL: [Self; 9] = [
        Self::Live,
        Self::Flame,
        Self::Goroutines,
        Self::Pauses,
        Self::Mappings,
        Self::Ledger,
        Self::Drift,
        Self::Exact,
        Self::Doctor,
    ];

    /// The last part of the path (the first tab has none), and the name of its symbol.
    pub fn key(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Flame => "flame",
            Self::Goroutines => "goroutines",
            Self::Pauses => "pauses",
            Self::Mappings => "mappings",
            Self::Ledger => "ledger",
            Self::Drift => "drift",
            Self::Exact => "exact",
            Self::Doctor => "doctor",
        }
    }

    pub fn label(self) -> &'static str {
        match self {
            Self::Live => "Live",
            Self::Flame => "Flame",
            Self::Goroutines => "Goroutines",
            Self::Pauses => "Pauses",
            Self::Mappings => "Mappings",
            Self::Ledger => "Ledger",
            Self::Drift => "Drift",
            Self::Exact => "Exact",
            Self::Doctor => "Doctor",
        }
    }

    /// The report that the tab shows, if it shows one.
    pub fn report(self) -> Option<ReportKind> {
        Some(match self {
            Self::Live | Self::Flame | Self::Doctor => return None,
            Self::Goroutines => ReportKind::Goroutines,
            Self::Pauses => ReportKind::Pauses,
            Self::Mappings => ReportKind::Mappings,
            Self::Ledger => ReportKind::Ledger,
            Self::Drift => ReportKind::Drift,
            Self::Exact => ReportKind::Exact,
        })
    }
}

/// A parsed address, with what was wrong about it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Opened {
    pub place: Place,
    pub problems: Vec<String>,
}

/// Links are written by people too: more than this is not read.
const MAX_QUERY_BYTES: usize = 8 << 10;

impl Place {
    pub fn fleet() -> Self {
        Self::default()
    }

    pub fn session(id: SessionId, tab: Tab) -> Self {
        Self {
            page: Page::Session { id, tab },
            view: ViewState::default(),
        }
    }

    pub fn hub() -> Self {
        Self {
            page: Page::Hub,
            view: ViewState::default(),
        }
    }

    /// `name` is empty where none is open.
    pub fn dashboards(name: String) -> Self {
        Self {
            page: Page::Dashboards { name },
            view: ViewState::default(),
        }
    }

    pub fn session_id(&self) -> Option<SessionId> {
        match self.page {
            Page::Session { id, .. } => Some(id),
            _ => None,
        }
    }

    pub fn tab(&self) -> Option<Tab> {
        match self.page {
            Page::Session { tab, .. } => Some(tab),
            _ => None,
        }
    }

    /// Reads `location.pathname` and `location.search`.
    pub fn open(path: &str, query: &str) -> Opened {
        let page = Page::parse(path);
        let mut problems = Vec::new();
        let query = query.strip_prefix('?').unwrap_or(query);
        let view = if query.len() > MAX_QUERY_BYTES {
            problems.push(format!(
                "The link's view state is {} bytes long, above the limit of {MAX_QUERY_BYTES}: it was not read.",
                query.len()
            ));
            ViewState::default()
        } else {
            let pairs = query
                .split('&')
                .filter(|pair| !pair.is_empty())
                .map(|pair| {
                    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(key), decode(value))
                })
                .collect();
            ViewState::from_pairs(pairs, &mut problems)
        };
        Opened {
            place: Self { page, view },
            problems,
        }
    }

    /// Path and query. The default view has no query, so that plain links stay plain.
    pub fn href(&self) -> String {
        let mut out = self.page.path();
        let pairs = self.view.pairs();
        for (index, (key, value)) in pairs.iter().enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            out.push_str(key);
            out.push('=');
            encode(value, &mut out);
        }
        out
    }
}

impl Page {
    fn parse(path: &str) -> Self {
        let unknown = || Self::Unknown {
            path: path.chars().take(200).collect(),
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        match parts.as_slice() {
            [] => Self::Fleet,
            ["hub"] => Self::Hub,
            ["d"] => Self::Dashboards { name: String::new() },
            ["d", name] if is_name(name) => Self::Dashboards {
                name: (*name).to_owned(),
            },
            ["s", id, rest @ ..] => {
                let tab = match rest {
                    [] => Some(Tab::Live),
                    [key] => Tab::ALL[1..].iter().copied().find(|tab| tab.key() == *key),
                    _ => None,
                };
                match (id.parse(), tab) {
                    (Ok(id), Some(tab)) => Self::Session { id, tab },
                    _ => unknown(),
                }
            }
            _ => unknown(),
        }
    }

    pub fn path(&self) -> String {
        match self {
            Self::Fleet => "/".to_owned(),
            Self::Hub => "/hub".to_owned(),
            Self::Dashboards { name } if name.is_empty() => "/d".to_owned(),
            Self::Dashboards { name } => format!("/d/{name}"),
            Self::Session { id, tab: Tab::Live } => format!("/s/{id}"),
            Self::Session { id, tab } => format!("/s/{id}/{}", tab.key()),
            Self::Unknown { path } => path.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
