//! Keys to commands to changes, and the sheet that lists them.

use super::commands::{COMMANDS, Command, Press, command_for};
use crate::store::Store;
use crate::ui::icon;
use crate::url::Place;
use leptos::html::Dialog;
use leptos::prelude::*;
use wasm_bindgen::JsCast as _;
use web_sys::{Element, HtmlElement, KeyboardEvent};

#[derive(Clone, Copy)]
pub(super) struct Sheet {
    node: NodeRef<Dialog>,
}

impl Sheet {
    pub(super) fn new() -> Self {
        Self { node: NodeRef::new() }
    }

    pub(super) fn toggle(self) {
        if let Some(dialog) = self.node.get_untracked() {
            if dialog.open() {
                dialog.close();
            } else {
                let _ = dialog.show_modal();
            }
        }
    }

    fn is_open(self) -> bool {
        self.node.get_untracked().is_some_and(|dialog| dialog.open())
    }
}

#[component]
pub(super) fn KeySheet(sheet: Sheet) -> impl IntoView {
    let mut keys = String::new();
    for entry in COMMANDS {
        keys += &format!(
            "<dt><kbd class=\"kbd\">{}</kbd></dt><dd>{}</dd>",
            entry.key, entry.what
        );
    }
    view! {
        <dialog class="dialog" node_ref=sheet.node aria-labelledby="keys-title" data-testid="keys">
            <div class="dialog-head">
                <h2 id="keys-title">"Keyboard"</h2>
                <span class="spacer"></span>
                <form method="dialog">
                    <button class="btn btn-ghost btn-icon" aria-label="Close">{icon("close")}</button>
                </form>
            </div>
            <div class="dialog-body">
                <dl class="kv" inner_html=keys></dl>
            </div>
        </dialog>
    }
}

pub(super) fn listen_to_keys(store: Store, sheet: Sheet) {
    let _ = window_event_listener(leptos::ev::keydown, move |event: KeyboardEvent| {
        if event.default_prevented() || sheet.is_open() {
            return;
        }
        let focus = document().active_element();
        let press = Press {
            code: &event.code(),
            key: &event.key(),
            modified: event.ctrl_key() || event.meta_key() || event.alt_key(),
            in_text: focus.as_ref().is_some_and(takes_text),
            on_control: focus.as_ref().is_some_and(is_control),
        };
        if let Some(command) = command_for(press)
            && run(command, store, sheet, focus)
        {
            event.prevent_default();
        }
    });
}

fn takes_text(element: &Element) -> bool {
    match element.tag_name().as_str() {
        "TEXTAREA" | "SELECT" => true,
        "INPUT" => !matches!(
            element.get_attribute("type").as_deref(),
            Some("checkbox" | "radio" | "range" | "button")
        ),
        _ => false,
    }
}

fn is_control(element: &Element) -> bool {
    matches!(element.tag_name().as_str(), "BUTTON" | "A" | "SUMMARY" | "INPUT")
        || element.get_attribute("role").is_some()
}

/// False if there was nothing to do.
fn run(command: Command, store: Store, sheet: Sheet, focus: Option<Element>) -> bool {
    match command {
        Command::Fleet => store.go(Place::fleet()),
        Command::Dashboards => store.go(Place::dashboards(String::new())),
        Command::Hub => store.go(Place::hub()),
        Command::Tab(tab) => match store.sibling(tab) {
            Some(place) => store.go(place),
            None => return false,
        },
        Command::Pause if in_session(store) => store.toggle_pause(),
        Command::Sampling if in_session(store) => {
            store.look(|view| view.sampling_open = !view.sampling_open);
        }
        Command::Pause | Command::Sampling => return false,
        Command::Filter => {
            let Some(input) = document().query_selector("[data-filter]").ok().flatten() else {
                return false;
            };
            let _ = input.unchecked_into::<HtmlElement>().focus();
        }
        Command::Sheet => sheet.toggle(),
        Command::Clear => return clear(store, focus),
    }
    true
}

fn in_session(store: Store) -> bool {
    store.place.peek(|place| place.session_id().is_some())
}

/// One thing at a time, the nearest to the eye first.
fn clear(store: Store, focus: Option<Element>) -> bool {
    let view = store.place.peek(|place| place.view.clone());
    if view.sampling_open {
        store.look(|view| view.sampling_open = false);
    } else if !view.filter.is_empty() {
        store.look(|view| view.filter.clear());
    } else if view.zoom.is_some() || view.selected.is_some() {
        store.look(|view| {
            view.zoom = None;
            view.selected = None;
        });
    } else if view.selection.is_some() {
        store.look(|view| view.selection = None);
    } else if let Some(element) = focus.filter(takes_text) {
        let _ = element.unchecked_into::<HtmlElement>().blur();
    } else {
        return false;
    }
    true
}
