//! The panel: the rate in force, a draft of a change with what it would mean, and what became of the last.

use super::draft::{Draft, MAX_STEP, MIN_STEP, changes};
use super::{amount, consequence, rate_lock, standing};
use crate::app::icon;
use crate::store::Store;
use crate::worker::ToWorker;
use heaptide_policy::Policy;
use heaptide_protocol::control::{SessionState, SessionSummary};
use leptos::prelude::*;

#[component]
pub(crate) fn SamplingPanel(store: Store) -> impl IntoView {
    let open = Memo::new(move |_| {
        store
            .place
            .with(|place| place.view.sampling_open.then(|| place.session_id()).flatten())
    });
    move || open.get().map(|_| view! { <Drawer store/> })
}

#[component]
fn Drawer(store: Store) -> impl IntoView {
    let summary = Memo::new(move |_| store.row().map(|row| row.summary));
    // The revision that this page's last proposal started from.
    let proposed = RwSignal::new(None::<u64>);
    let draft = RwSignal::new(None::<Draft>);
    let told = Memo::new(move |_| {
        summary.with(|summary| {
            summary
                .as_ref()
                .map(|summary| standing(&summary.policy, proposed.get()))
        })
    });
    // An untouched draft follows the policy; a touched one is the person's.
    Effect::new(move || {
        if let Some(told) = told.get() {
            let touched = draft.with_untracked(|draft| draft.as_ref().is_some_and(Draft::is_changed));
            if !touched {
                draft.set(Some(Draft::new(told.current)));
            }
        }
    });
    let close = move |_| store.look(|view| view.sampling_open = false);
    view! {
        <aside class="drawer" aria-labelledby="sampling-title" data-testid="sampling">
            <div class="drawer-head">
                <h2 id="sampling-title">"Sampling"</h2>
                <span class="spacer"></span>
                <button class="btn btn-ghost btn-icon" type="button" aria-label="Close" on:click=close>
                    {icon("close")}
                </button>
            </div>
            <div class="drawer-body">
                <p
                    class="status-line"
                    aria-live="polite"
                    data-testid="policy-status"
                    data-state=move || told.with(|told| told.as_ref().map_or("idle", |told| told.state))
                    data-revision=move || told.with(|told| told.as_ref().map(|told| told.current.revision.to_string()))
                >
                    {move || told.with(|told| {
                        told.as_ref().map_or_else(|| "Waiting for the hub…".to_owned(), |told| told.words.clone())
                    })}
                </p>
                <RateField store summary draft/>
                <SourcesField summary draft/>
                <TiersField draft/>
                <Review store summary draft proposed/>
            </div>
        </aside>
    }
}

/// The draft's edit of one thing, for event handlers.
fn edit(draft: RwSignal<Option<Draft>>, change: impl FnOnce(&mut Draft)) {
    draft.update(|draft| {
        if let Some(draft) = draft {
            change(draft);
        }
    });
}

#[component]
fn RateField(
    store: Store,
    summary: Memo<Option<SessionSummary>>,
    draft: RwSignal<Option<Draft>>,
) -> impl IntoView {
    let lock = Memo::new(move |_| summary.with(|summary| summary.as_ref().and_then(rate_lock)));
    let locked = move || lock.with(Option::is_some);
    let in_force = Memo::new(move |_| {
        let told = store
            .headline
            .with(|headline| headline.as_ref().map(|h| h.sampling_rate_bytes));
        told.filter(|rate| *rate > 0)
            .or_else(|| {
                summary.with(|s| {
                    s.as_ref()
                        .and_then(|s| s.pulse.as_ref())
                        .map(|p| p.sampling_rate_bytes)
                })
            })
            .unwrap_or(0)
    });
    let flow = Memo::new(move |_| {
        store
            .headline
            .with(|headline| headline.as_ref().map(|h| h.allocated_per_s.value))
    });
    let step =
        Memo::new(move |_| draft.with(|draft| draft.as_ref().map_or(19, |draft| draft.step(in_force.get()))));
    let own = Memo::new(move |_| {
        draft.with(|draft| {
            draft
                .as_ref()
                .is_none_or(|draft| draft.edited.sampling_rate_bytes.is_none())
        })
    });
    let meaning = Memo::new(move |_| consequence(1 << step.get(), flow.get()));
    let fill = move || {
        let share = f64::from(step.get() - MIN_STEP) / f64::from(MAX_STEP - MIN_STEP);
        format!("{}%", (share * 100.0).round())
    };
    let allow = move || draft.with(|draft| draft.as_ref().is_some_and(|draft| draft.edited.allow_rate_write));
    view! {
        <fieldset class="field" disabled=locked data-testid="rate-field" data-locked=move || locked().to_string()>
            <legend class="field-label">"Heap sampling rate"</legend>
            <p class="field-hint" data-testid="rate-now" data-value=move || in_force.get().to_string()>
                {move || match in_force.get() {
                    0 => "In force: off, or not known.".to_owned(),
                    rate => format!("In force: one sample per {} on average.", amount(rate)),
                }}
            </p>
            {move || lock.get().map(|why| view! {
                <p class="notice notice-info" data-testid="rate-locked">{icon("warn")}<span>{why}</span></p>
            })}
            <label class="row">
                <input
                    class="toggle"
                    type="checkbox"
                    role="switch"
                    data-testid="allow-write"
                    prop:checked=allow
                    on:change=move |event| {
                        let on = event_target_checked(&event);
                        edit(draft, |draft| {
                            draft.edited.allow_rate_write = on;
                            if !on {
                                draft.edited.sampling_rate_bytes = None;
                            }
                        });
                    }
                />
                <span>"Let the collector write runtime.MemProfileRate in the program"</span>
            </label>
            <p class="field-hint">"It is put back to its first value at detach, also after a crash of the collector."</p>
            <label class="field-label" for="rate-slider">
                "New rate: "
                <output data-testid="rate-draft" data-value=move || (1_u64 << step.get()).to_string()>
                    {move || if own.get() { "the program's own".to_owned() } else { format!("1 per {}", amount(1 << step.get())) }}
                </output>
            </label>
            <input
                id="rate-slider"
                class="slider"
                type="range"
                data-testid="rate-slider"
                min=MIN_STEP
                max=MAX_STEP
                step="1"
                style:--fill=fill
                disabled=move || !allow()
                prop:value=move || step.get().to_string()
                aria-valuetext=move || format!("one sample per {}", amount(1 << step.get()))
                on:input=move |event| {
                    if let Ok(step) = event_target_value(&event).parse() {
                        edit(draft, |draft| draft.set_step(step));
                    }
                }
            />
            <div class="row faint"><span>"finer, dearer"</span><span class="spacer"></span><span>"coarser, cheaper"</span></div>
            <p class="field-hint" data-testid="rate-meaning">{move || meaning.get().words()}</p>
            {move || (meaning.get().dear && allow()).then(|| view! {
                <p class="field-error">
                    "So many samples cost the program more than 1 % of a core. The collector's budget may shed event rows."
                </p>
            })}
        </fieldset>
    }
}

#[component]
fn SourcesField(summary: Memo<Option<SessionSummary>>, draft: RwSignal<Option<Draft>>) -> impl IntoView {
    let ended =
        move || summary.with(|summary| summary.as_ref().is_none_or(|s| s.state == SessionState::Ended));
    let switch = move |id: &'static str, text: &'static str, read: fn(&mut Policy) -> &mut bool| {
        let checked = move || {
            draft.with(|draft| {
                draft
                    .as_ref()
                    .is_some_and(|draft| *read(&mut draft.edited.clone()))
            })
        };
        view! {
            <label class="row">
                <input
                    class="toggle"
                    type="checkbox"
                    role="switch"
                    data-testid=format!("source-{id}")
                    prop:checked=checked
                    on:change=move |event| {
                        let on = event_target_checked(&event);
                        edit(draft, |draft| *read(&mut draft.edited) = on);
                    }
                />
                <span>{text}</span>
            </label>
        }
    };
    view! {
        <fieldset class="field" disabled=ended>
            <legend class="field-label">"What is observed"</legend>
            {switch("heap", "Heap samples: allocations and frees", |policy| &mut policy.sources.sampled_heap)}
            {switch("gc", "Collections and stop-the-world pauses", |policy| &mut policy.sources.gc)}
            {switch("mappings", "Mappings of the process (mmap and its kin)", |policy| &mut policy.sources.mappings)}
        </fieldset>
    }
}

/// Sizes in KiB: what a person types.
#[component]
fn TiersField(draft: RwSignal<Option<Draft>>) -> impl IntoView {
    let number = move |label: &'static str,
                       unit: &'static str,
                       scale: u64,
                       max: u64,
                       read: fn(&Policy) -> u64,
                       write: fn(&mut Policy, u64)| {
        let value = move || {
            draft.with(|draft| {
                draft
                    .as_ref()
                    .map_or(0, |draft| read(&draft.edited) / scale)
                    .to_string()
            })
        };
        view! {
            <label class="row">
                <span class="fill">{label}</span>
                <input
                    class="input num"
                    type="number"
                    min="0"
                    max=max
                    prop:value=value
                    on:change=move |event| {
                        if let Ok(value) = event_target_value(&event).parse::<u64>() {
                            edit(draft, |draft| write(&mut draft.edited, value.min(max) * scale));
                        }
                    }
                />
                <span class="muted">{unit}</span>
            </label>
        }
    };
    view! {
        <details class="field">
            <summary class="field-label">"Which samples are sent one by one"</summary>
            <p class="field-hint">"All samples count in every figure; these thresholds say which ones also travel as events."</p>
            {number(
                "Every one from",
                "KiB",
                1024,
                1 << 30,
                |policy| policy.tiers.always_from_bytes,
                |policy, value| policy.tiers.always_from_bytes = value,
            )}
            {number(
                "Some from",
                "KiB",
                1024,
                1 << 30,
                |policy| policy.tiers.hashed_from_bytes,
                |policy, value| policy.tiers.hashed_from_bytes = value,
            )}
            {number(
                "How many of those",
                "%",
                1,
                100,
                |policy| u64::from(policy.tiers.hashed_percent),
                |policy, value| policy.tiers.hashed_percent = value as u8,
            )}
        </details>
    }
}

/// What would change, what stands against it, and the buttons.
#[component]
fn Review(
    store: Store,
    summary: Memo<Option<SessionSummary>>,
    draft: RwSignal<Option<Draft>>,
    proposed: RwSignal<Option<u64>>,
) -> impl IntoView {
    let current = Memo::new(move |_| {
        summary.with(|summary| {
            summary
                .as_ref()
                .map(|summary| standing(&summary.policy, None).current)
        })
    });
    let list = Memo::new(move |_| {
        draft.with(|draft| {
            draft
                .as_ref()
                .map(|draft| changes(&draft.base, &draft.edited))
                .unwrap_or_default()
                .into_iter()
                .map(|change| (change.field, change.from, change.to))
                .collect::<Vec<_>>()
        })
    });
    let problem = Memo::new(move |_| draft.with(|draft| draft.as_ref().and_then(Draft::problem)));
    let overtaken = Memo::new(move |_| {
        let current = current.get()?;
        draft.with(|draft| {
            let draft = draft
                .as_ref()
                .filter(|draft| draft.is_changed() && draft.base.revision != current.revision)?;
            let clashes: Vec<String> = draft
                .conflicts(&current)
                .into_iter()
                .map(|change| format!("{}: {} there", change.field, change.to))
                .collect();
            Some((current.revision, clashes.join(", ")))
        })
    });
    let cannot =
        move || list.with(Vec::is_empty) || problem.with(Option::is_some) || overtaken.with(Option::is_some);
    let apply = move |_| {
        let Some(id) = store.place.with_untracked(|place| place.session_id()) else {
            return;
        };
        if let Some(draft_now) = draft.get_untracked() {
            let base_revision = draft_now.base.revision;
            proposed.set(Some(base_revision));
            // Revisions are the hub's to number; this one says what was seen.
            let policy = Policy {
                revision: base_revision,
                ..draft_now.edited
            };
            store.send(&ToWorker::Propose { session: id, policy });
            draft.set(Some(Draft::new(draft_now.base)));
        }
    };
    let revert = move |_| draft.set(current.get_untracked().map(Draft::new));
    let rebase = move |_| {
        if let Some(current) = current.get_untracked() {
            edit(draft, |draft| draft.rebase(&current));
        }
    };
    view! {
        <div class="field">
            {move || overtaken.get().map(|(revision, clashes)| view! {
                <div class="notice notice-warn" data-testid="policy-overtaken">
                    {icon("warn")}
                    <div>
                        {format!("The policy is at revision {revision} now. ")}
                        {(!clashes.is_empty()).then(|| format!("Changed by both: {clashes}. "))}
                    </div>
                    <button class="btn btn-sm" type="button" on:click=rebase>"Keep my changes"</button>
                    <button class="btn btn-sm" type="button" on:click=revert>"Take theirs"</button>
                </div>
            })}
            {move || (!list.with(Vec::is_empty)).then(|| view! {
                <table class="table" data-testid="policy-changes">
                    <thead><tr><th scope="col">"Change"</th><th scope="col">"Now"</th><th scope="col">"Then"</th></tr></thead>
                    <tbody>
                        {list
                            .get()
                            .into_iter()
                            .map(|(field, from, to)| view! { <tr><td>{field}</td><td>{from}</td><td>{to}</td></tr> })
                            .collect_view()}
                    </tbody>
                </table>
            })}
            {move || problem.get().filter(|_| !list.with(Vec::is_empty)).map(|problem| view! {
                <p class="field-error" data-testid="policy-problem">{problem}</p>
            })}
            <div class="row">
                <button class="btn btn-primary" type="button" data-testid="policy-apply" disabled=cannot on:click=apply>
                    "Apply"
                </button>
                <button
                    class="btn btn-ghost"
                    type="button"
                    disabled=move || list.with(Vec::is_empty)
                    on:click=revert
                >
                    "Discard"
                </button>
            </div>
        </div>
    }
}
