//! Light, dark, or as the system has it. The choice is kept in the browser; `theme.js` applies it before the
//! first paint.

use super::icon;
use leptos::prelude::*;

const KEY: &str = "heaptide.theme";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    fn saved() -> Self {
        match window()
            .local_storage()
            .ok()
            .flatten()
            .and_then(|store| store.get_item(KEY).ok().flatten())
            .as_deref()
        {
            Some("light") => Self::Light,
            Some("dark") => Self::Dark,
            _ => Self::Auto,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn next(self) -> Self {
        match self {
            Self::Auto => Self::Light,
            Self::Light => Self::Dark,
            Self::Dark => Self::Auto,
        }
    }

    fn apply(self) {
        let root = document().document_element();
        let storage = window().local_storage().ok().flatten();
        // Where storage is forbidden the choice lasts as long as the page.
        let _ = match self {
            Self::Auto => {
                let _ = storage.map(|store| store.remove_item(KEY));
                root.map(|root| root.remove_attribute("data-theme"))
            }
            chosen => {
                let _ = storage.map(|store| store.set_item(KEY, chosen.name()));
                root.map(|root| root.set_attribute("data-theme", chosen.name()))
            }
        };
    }
}

#[component]
pub(super) fn ThemeSwitch() -> impl IntoView {
    let theme = RwSignal::new(Theme::saved());
    let title = move || {
        format!(
            "Theme: {}. Switch to {}.",
            theme.get().name(),
            theme.get().next().name()
        )
    };
    let name = move || match theme.get() {
        Theme::Auto => "auto",
        Theme::Light => "sun",
        Theme::Dark => "moon",
    };
    view! {
        <button
            class="btn btn-ghost btn-icon"
            type="button"
            data-testid="theme"
            data-value=move || theme.get().name()
            aria-label=title
            title=title
            on:click=move |_| {
                theme.update(|theme| *theme = theme.next());
                theme.get_untracked().apply();
            }
        >
            {move || icon(name())}
        </button>
    }
}
