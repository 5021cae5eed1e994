//! Light, dark, or as the system has it. The choice is kept in the browser; `theme.js` applies it before the
//! first paint.

use crate::ui::{click, icon, part, text};
use leptos::prelude::*;

const KEY: &str = "heaptide.theme";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    Auto,
    Light,
    Dark,
}

impl Theme {
    const ALL: [Self; 3] = [Self::Auto, Self::Light, Self::Dark];

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

    fn icon(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "sun",
            Self::Dark => "moon",
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
    let theme = RwSignal::new(Theme::saved() as usize);
    let now = move || Theme::ALL[theme.get() % 3];
    let title = move || format!("Theme: {}. Switch to {}.", now().name(), now().next().name());
    view! {
        <button
            class="btn btn-ghost btn-icon"
            type="button"
            data-testid="theme"
            data-value=text(move || now().name().to_owned())
            aria-label=text(title)
            title=text(title)
            on:click=click(move |_| {
                let next = now().next();
                theme.set(next as usize);
                next.apply();
            })
        >
            {part(move || icon(now().icon()))}
        </button>
    }
}
