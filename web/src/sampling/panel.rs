//! The panel: the rate in force, a draft of a change with what it would mean, and what became of the last.

use super::draft::{Draft, MAX_STEP, MIN_STEP, changes};
use super::{SOURCES, Standing, amount, consequence, rate_lock, standing};
use crate::format;
use crate::store::Store;
use crate::ui::{click, flag, icon, input, maybe, nothing, part, text};
use crate::worker::ToWorker;
use heaptide_policy::Policy;
use heaptide_protocol::control::SessionState;
use leptos::prelude::*;

/// What the parts of the panel share.
#[derive(Clone, Copy)]
struct Desk {
    store: Store,
}

#[component]
pub(crate) fn SamplingPanel(store: Store) -> impl IntoView {
    let open = Memo::new(move |_| {
        store.place.with(|place| {
            let id = place.session_id().filter(|_| place.view.sampling_open);
            id.map_or_else(String::new, |id| id.to_string())
        })
    });
    part(move || {
        if open.get().is_empty() {
            nothing()
        } else {
            drawer(store)
        }
    })
}

fn drawer(store: Store) -> AnyView {
    let desk = Desk { store };
    // An untouched draft follows the policy; a touched one is the person's.
    Effect::new(move || {
        if let Some(told) = desk.standing() {
            let touched = store.draft.peek(|draft| {
                draft
                    .as_ref()
                    .map(|draft| (draft.is_changed(), draft.base == told.current))
            });
            if !matches!(touched, Some((true, _) | (_, true))) {
                store.draft.set(Some(Draft::new(told.current)));
            }
        }
    });
    let told = move |read: fn(Standing) -> String| move || desk.standing().map(read);
    let words = move || told(|told| told.words)().unwrap_or_else(|| "Waiting for the hub…".to_owned());
    view! {
        <aside class="drawer" aria-labelledby="sampling-title" data-testid="sampling">
            <div class="drawer-head">
                <h2 id="sampling-title">"Sampling"</h2>
                <span class="spacer"></span>
                <button
                    class="btn btn-ghost btn-icon"
                    type="button"
                    aria-label="Close"
                    on:click=click(move |_| store.look(|view| view.sampling_open = false))
                >
                    {icon("close")}
                </button>
            </div>
            <div class="drawer-body">
                <p
                    class="status-line"
                    aria-live="polite"
                    data-testid="policy-status"
                    data-state=text(move || told(|told| told.state.to_owned())().unwrap_or_else(|| "idle".to_owned()))
                    data-revision=maybe(told(|told| told.current.revision.to_string()))
                >
                    {text(words)}
                </p>
                {rate_field(desk)}
                {exact_field(desk)}
                {leak_check_field(desk)}
                {sources_field(desk)}
                {tiers_field(desk)}
                {review(desk)}
            </div>
        </aside>
    }
    .into_any()
}

impl Desk {
    fn standing(&self) -> Option<Standing> {
        let proposed = self.store.proposed.get();
        self.store.with_row(|row| standing(&row.summary.policy, proposed))
    }

    /// What the hub would number the next revision from.
    fn current(&self) -> Option<Policy> {
        self.store
            .with_row(|row| standing(&row.summary.policy, None).current)
    }

    fn edit(&self, change: impl FnOnce(&mut Draft)) {
        let mut draft = self.store.draft.peek(Option::clone);
        if let Some(draft) = &mut draft {
            change(draft);
        }
        self.store.draft.set(draft);
    }

    fn read<R>(&self, read: impl FnOnce(&Draft) -> R) -> Option<R> {
        self.store.draft.with(|draft| draft.as_ref().map(read))
    }

    fn allows_write(&self) -> bool {
        self.read(|draft| draft.edited.allow_rate_write) == Some(true)
    }

    /// As far as it is known; 0 if not.
    fn rate_in_force(&self) -> u64 {
        let told = self.store.figure(|h| h.sampling_rate_bytes).unwrap_or_default();
        if told > 0 {
            return told;
        }
        let pulse = self
            .store
            .with_row(|row| row.summary.pulse.as_ref().map(|pulse| pulse.sampling_rate_bytes));
        pulse.flatten().unwrap_or_default()
    }

    fn step(&self) -> u32 {
        let rate = self.rate_in_force();
        self.read(|draft| draft.step(rate)).unwrap_or(MIN_STEP)
    }

    fn apply(&self) {
        let id = self.store.place.peek(|place| place.session_id());
        let (Some(id), Some(draft)) = (id, self.store.draft.peek(Option::clone)) else {
            return;
        };
        // Revisions are the hub's to number; this one says what was seen.
        let revision = draft.base.revision;
        self.store.proposed.set(Some(revision));
        let policy = Policy {
            revision,
            ..draft.edited
        };
        self.store.send(&ToWorker::Propose { session: id, policy });
        self.store.draft.set(Some(Draft::new(draft.base)));
    }
}

fn switch(
    id: &'static str,
    label: &'static str,
    on: impl FnMut() -> bool + Send + 'static,
    set: impl Fn(bool) + 'static,
) -> AnyView {
    view! {
        <label class="row">
            <input
                class="toggle"
                type="checkbox"
                role="switch"
                data-testid=id
                prop:checked=flag(on)
                on:change=input(move |event| set(event_target_checked(&event)))
            />
            <span>{label}</span>
        </label>
    }
    .into_any()
}

fn rate_field(desk: Desk) -> AnyView {
    let lock = move || desk.store.with_row(|row| rate_lock(&row.summary)).flatten();
    let lock_note = Memo::new(move |_| lock().unwrap_or_default());
    let locked = move || !lock_note.with(String::is_empty);
    let own = move || desk.read(|draft| draft.edited.sampling_rate_bytes.is_none()) != Some(false);
    let meaning = move || consequence(1 << desk.step(), desk.store.figure(|h| h.allocated_per_s.value));
    let in_force = move || match desk.rate_in_force() {
        0 => "In force: off, or not known.".to_owned(),
        rate => format!("In force: one sample per {} on average.", amount(rate)),
    };
    let new_rate = move || {
        if own() {
            "the program's own".to_owned()
        } else {
            format!("1 per {}", amount(1 << desk.step()))
        }
    };
    let fill = move || {
        let share = f64::from(desk.step() - MIN_STEP) / f64::from(MAX_STEP - MIN_STEP);
        format!("{}%", format::fixed(share * 100.0, 0))
    };
    let locked_note = move || {
        let why = lock_note.get();
        if why.is_empty() {
            return nothing();
        }
        view! { <p class="notice notice-info" data-testid="rate-locked">{icon("warn")}<span>{why}</span></p> }
            .into_any()
    };
    let dear = Memo::new(move |_| usize::from(meaning().dear && desk.allows_write()));
    let dear_note = move || {
        if dear.get() == 0 {
            return nothing();
        }
        view! {
            <p class="field-error">
                "So many samples cost the program more than 1 % of a core, and the collector may leave event rows out."
            </p>
        }
        .into_any()
    };
    let allow = switch(
        "allow-write",
        "Let the collector write runtime.MemProfileRate in the program",
        move || desk.allows_write(),
        move |on| {
            desk.edit(|draft| {
                draft.edited.allow_rate_write = on;
                if !on {
                    draft.edited.sampling_rate_bytes = None;
                }
            });
        },
    );
    view! {
        <fieldset
            class="field"
            disabled=flag(locked)
            data-testid="rate-field"
            data-locked=text(move || locked().to_string())
        >
            <legend class="field-label">"Heap sampling rate"</legend>
            <p class="field-hint" data-testid="rate-now" data-value=text(move || desk.rate_in_force().to_string())>
                {text(in_force)}
            </p>
            {part(locked_note)}
            {allow}
            <p class="field-hint">
                "It is put back to its first value at detach, also after a crash of the collector."
            </p>
            <label class="field-label" for="rate-slider">
                "New rate: "
                <output data-testid="rate-draft" data-value=text(move || (1_u64 << desk.step()).to_string())>
                    {text(new_rate)}
                </output>
            </label>
            <input
                id="rate-slider"
                class="slider"
                type="range"
                data-testid="rate-slider"
                min=MIN_STEP.to_string()
                max=MAX_STEP.to_string()
                step="1"
                style:--fill=text(fill)
                disabled=flag(move || !desk.allows_write())
                prop:value=text(move || desk.step().to_string())
                aria-valuetext=text(move || format!("one sample per {}", amount(1 << desk.step())))
                on:input=input(move |event| {
                    if let Ok(step) = event_target_value(&event).parse() {
                        desk.edit(|draft| draft.set_step(step));
                    }
                })
            />
            <div class="row faint">
                <span>"finer, dearer"</span>
                <span class="spacer"></span>
                <span>"coarser, cheaper"</span>
            </div>
            <p class="field-hint" data-testid="rate-meaning">{text(move || meaning().words())}</p>
            {part(dear_note)}
        </fieldset>
    }
    .into_any()
}

fn ended(desk: Desk) -> bool {
    desk.store
        .with_row(|row| row.summary.state == SessionState::Ended)
        != Some(false)
}

fn sources_field(desk: Desk) -> AnyView {
    let switches: Vec<AnyView> = SOURCES
        .iter()
        .map(|source| {
            let toggle = switch(
                source.id,
                source.label,
                move || desk.read(|draft| (source.get)(&draft.edited.sources)) == Some(true),
                move |on| desk.edit(|draft| (source.set)(&mut draft.edited.sources, on)),
            );
            view! { {toggle}<p class="field-hint field-hint-in">{source.hint}</p> }.into_any()
        })
        .collect();
    view! {
        <fieldset class="field" disabled=flag(move || ended(desk))>
            <legend class="field-label">"What is observed"</legend>
            {switches}
        </fieldset>
    }
    .into_any()
}

/// The dear one, which ends by itself.
fn exact_field(desk: Desk) -> AnyView {
    let asked = move || desk.read(Draft::counts_everything) == Some(true);
    let last = move || match desk.read(|draft| draft.base.exact).flatten() {
        Some(window) => format!("Asked for last: window {}.", window.number),
        None => String::new(),
    };
    view! {
        <fieldset class="field" disabled=flag(move || ended(desk))>
            <legend class="field-label">"Exact window"</legend>
            <button
                class="btn"
                type="button"
                data-testid="count-everything"
                aria-pressed=text(move || asked().to_string())
                on:click=click(move |_| {
                    let on = !untrack(asked);
                    desk.edit(|draft| draft.count_everything(on));
                })
            >
                "Count everything for 5 s…"
            </button>
            <p class="field-hint">
                "Each allocation then costs the program 1 to 5 µs, which can slow one that allocates much by a \
                 factor of 20. It ends after its time, or as soon as it takes half of a core. "
                {text(last)}
            </p>
        </fieldset>
    }
    .into_any()
}

/// Go's own verdict, which writes to the program.
fn leak_check_field(desk: Desk) -> AnyView {
    let asked = move || desk.read(Draft::asks_leak_check) == Some(true);
    view! {
        <fieldset class="field" disabled=flag(move || ended(desk))>
            <legend class="field-label">"Leaked goroutines"</legend>
            <button
                class="btn"
                type="button"
                data-testid="leak-check"
                aria-pressed=text(move || asked().to_string())
                on:click=click(move |_| {
                    let on = !untrack(asked);
                    desk.edit(|draft| draft.ask_leak_check(on));
                })
            >
                "Ask Go's leak detector…"
            </button>
            <p class="field-hint">
                "Go 1.27 then looks with its next collection. That writes one byte to the program, so the collector \
                 must have been started with --allow-leak-check."
            </p>
        </fieldset>
    }
    .into_any()
}

/// Sizes in KiB: what a person types.
fn tiers_field(desk: Desk) -> AnyView {
    let number = move |label: &'static str,
                       unit: &'static str,
                       read: fn(&Policy) -> u64,
                       write: fn(&mut Policy, u64)| {
        view! {
            <label class="row">
                <span class="fill">{label}</span>
                <input
                    class="input num"
                    type="number"
                    min="0"
                    prop:value=text(move || desk.read(|draft| read(&draft.edited)).unwrap_or_default().to_string())
                    on:change=input(move |event| {
                        if let Ok(value) = event_target_value(&event).parse::<u32>() {
                            desk.edit(|draft| write(&mut draft.edited, u64::from(value)));
                        }
                    })
                />
                <span class="muted">{unit}</span>
            </label>
        }
        .into_any()
    };
    let fields = vec![
        number(
            "Every one from",
            "KiB",
            |policy| policy.tiers.always_from_bytes / 1024,
            |policy, value| policy.tiers.always_from_bytes = value * 1024,
        ),
        number(
            "Some from",
            "KiB",
            |policy| policy.tiers.hashed_from_bytes / 1024,
            |policy, value| policy.tiers.hashed_from_bytes = value * 1024,
        ),
        number(
            "How many of those",
            "%",
            |policy| u64::from(policy.tiers.hashed_percent),
            |policy, value| policy.tiers.hashed_percent = value.min(255) as u8,
        ),
    ];
    view! {
        <details class="field">
            <summary class="field-label">"Which samples are sent one by one"</summary>
            <p class="field-hint">
                "All samples count in every figure; these thresholds say which ones also travel as events."
            </p>
            {fields}
        </details>
    }
    .into_any()
}

/// What would change, what stands against it, and the buttons.
fn review(desk: Desk) -> AnyView {
    let unchanged = move || desk.read(Draft::is_changed) != Some(true);
    let problem = move || desk.read(Draft::problem).flatten().filter(|_| !unchanged());
    // The policy has moved on under a touched draft: to which revision, and what both changed.
    let overtaken = Memo::new(move |_| {
        let (Some(current), Some(draft)) = (desk.current(), desk.store.draft.get()) else {
            return String::new();
        };
        if !draft.is_changed() || draft.base.revision == current.revision {
            return String::new();
        }
        let mut words = format!("The policy is at revision {} now. ", current.revision);
        for change in draft.conflicts(&current) {
            words.push_str(&format!("{} was set to {} there. ", change.field, change.to));
        }
        words
    });
    let revert = move |_| {
        let current = untrack(|| desk.current());
        desk.store.draft.set(current.map(Draft::new));
    };
    let rebase = move |_| {
        if let Some(current) = untrack(|| desk.current()) {
            desk.edit(|draft| draft.rebase(&current));
        }
    };
    let overtaken_note = move || {
        let words = overtaken.get();
        if words.is_empty() {
            return nothing();
        }
        view! {
            <div class="notice notice-warn" data-testid="policy-overtaken">
                {icon("warn")}
                <div>{words}</div>
                <button class="btn btn-sm" type="button" on:click=click(rebase)>"Keep my changes"</button>
                <button class="btn btn-sm" type="button" on:click=click(revert)>"Take theirs"</button>
            </div>
        }
        .into_any()
    };
    let list = move || {
        let changes = desk
            .read(|draft| changes(&draft.base, &draft.edited))
            .unwrap_or_default();
        if changes.is_empty() {
            return nothing();
        }
        let rows: Vec<AnyView> = changes
            .into_iter()
            .map(|change| {
                view! { <tr><td>{change.field}</td><td>{change.from}</td><td>{change.to}</td></tr> }
                    .into_any()
            })
            .collect();
        view! {
            <table class="table" data-testid="policy-changes">
                <thead><tr><th scope="col">"Change"</th><th scope="col">"Now"</th><th scope="col">"Then"</th></tr></thead>
                <tbody>{rows}</tbody>
            </table>
        }
        .into_any()
    };
    let cannot = move || unchanged() || problem().is_some() || !overtaken.with(String::is_empty);
    view! {
        <div class="field">
            {part(overtaken_note)}
            {part(list)}
            <p class="field-error" data-testid="policy-problem">{text(move || problem().unwrap_or_default())}</p>
            <div class="row">
                <button
                    class="btn btn-primary"
                    type="button"
                    data-testid="policy-apply"
                    disabled=flag(cannot)
                    on:click=click(move |_| desk.apply())
                >
                    "Apply"
                </button>
                <button class="btn btn-ghost" type="button" disabled=flag(unchanged) on:click=click(revert)>
                    "Discard"
                </button>
            </div>
        </div>
    }
    .into_any()
}
