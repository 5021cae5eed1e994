//! From the worker to the signals: kept until the next animation frame, then put in at once.

use super::latency::Latency;
use super::outbox::Outbox;
use super::{Live, Store};
use crate::url::Tab;
use crate::worker::{Extra, Show, ToPage, ToWorker, ViewUpdate};
use heaptide_protocol::report::ReportTold;
use leptos::prelude::*;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use wasm_bindgen::prelude::*;
use web_sys::{MessageEvent, Worker};

/// One animation frame's worth of answers. Bounded by merging: a later answer replaces an earlier one.
#[derive(Default)]
struct Pending {
    others: Vec<ToPage>,
    view: Option<Box<ViewUpdate>>,
    frame_asked: bool,
}

const MAX_OTHERS: usize = 64;

/// Makes the store, and ties it to the worker and to the place.
pub(crate) fn start(worker: &Worker) -> Store {
    let opened = crate::app::history::present();
    let store = Store {
        place: Live::new(opened.place),
        problems: Live::new(opened.problems),
        link: Live::new(Default::default()),
        fleet: Live::new(None),
        headline: Live::new(None),
        timeline: Live::new(None),
        sites: Live::new(None),
        flame: Live::new(None),
        tables: Live::new((Tab::Live, Vec::new())),
        progress: Live::new(Default::default()),
        damage: Live::new(Default::default()),
        notices: Live::new(Vec::new()),
        draft: Live::new(None),
        proposed: Live::new(None),
        points: Live::new(600),
        sharing: Live::new(false),
        signing_in: Live::new(false),
        has_provider: Live::new(false),
        latency: Live::new(Default::default()),
        worker: StoredValue::new_local(Outbox::new(worker.clone())),
    };
    store.send(&ToWorker::Start {
        socket_url: crate::app::history::socket_url(),
        seed: (js_sys::Math::random() * 9e15) as u64,
    });
    ask_for_what_is_shown(store);
    receive(store, worker);
    store
}

/// Tells the worker what is on screen, each time that changes.
fn ask_for_what_is_shown(store: Store) {
    let asked = std::cell::RefCell::new(Show::default());
    Effect::new(move || {
        let show = question(store);
        let mut asked = asked.borrow_mut();
        if NUMBER.get() > 0 && show == *asked {
            return;
        }
        if show.session != asked.session {
            // Answers about another session are no longer true.
            store.headline.set(None);
            store.timeline.set(None);
            store.sites.set(None);
            store.flame.set(None);
            store.tables.set((Tab::Live, Vec::new()));
            store.progress.set(Default::default());
            store.draft.set(None);
            store.proposed.set(None);
        }
        NUMBER.set(NUMBER.get().wrapping_add(1).max(1));
        *asked = show.clone();
        let number = NUMBER.get();
        store.send(&ToWorker::Show(Show { number, ..show }));
    });
}

fn question(store: Store) -> Show {
    let points = store.points.get();
    store.place.with(|place| Show {
        number: 0,
        session: place.session_id(),
        range: place.view.range,
        at_ns: place.view.at_ns,
        selection: place.view.selection,
        timeline_points: points,
        extra: match place.tab() {
            Some(Tab::Live) => Extra::Sites,
            Some(Tab::Flame) => Extra::Flame,
            tab => tab.and_then(Tab::report).map_or(Extra::None, Extra::Report),
        },
        metric: Some(place.view.metric.0),
        filter: place.view.filter.clone(),
    })
}

thread_local! {
    /// The question that is open; answers to older ones are dropped.
    static NUMBER: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

fn receive(store: Store, worker: &Worker) {
    let pending = Rc::new(RefCell::new(Pending::default()));
    let latency = Rc::new(RefCell::new(Latency::new()));
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let data = event.data();
        if !data.is_instance_of::<js_sys::ArrayBuffer>() {
            return;
        }
        let bytes = js_sys::Uint8Array::new(&data).to_vec();
        let Ok(message) = postcard::from_bytes::<ToPage>(&bytes) else {
            return;
        };
        let mut queue = pending.borrow_mut();
        match message {
            ToPage::View(update) => {
                queue.view = Some(match queue.view.take() {
                    Some(old) => merge(*old, update),
                    None => update,
                });
            }
            other if queue.others.len() < MAX_OTHERS => queue.others.push(other),
            _ => {}
        }
        if !std::mem::replace(&mut queue.frame_asked, true) {
            let (pending, latency) = (pending.clone(), latency.clone());
            request_animation_frame(move || {
                let batch = std::mem::take(&mut *pending.borrow_mut());
                put(store, batch, &latency);
            });
        }
    });
    worker.set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    on_message.forget();
}

/// The newer answer, with what only the older one has.
fn merge(old: ViewUpdate, mut new: Box<ViewUpdate>) -> Box<ViewUpdate> {
    if old.show == new.show {
        new.headline = new.headline.or(old.headline);
        new.timeline = new.timeline.or(old.timeline);
        new.sites = new.sites.or(old.sites);
        new.flame = new.flame.or(old.flame);
    }
    new
}

fn put(store: Store, batch: Pending, latency: &Rc<RefCell<Latency>>) {
    for message in batch.others {
        match message {
            ToPage::Link(state) => store.link.set((state, js_sys::Date::now())),
            ToPage::Fleet(rows) => store.fleet.set(Some(rows)),
            ToPage::Damage(damage) => store.damage.set(damage),
            ToPage::Notice(text) => store.notice(text),
            ToPage::Report(told) => put_report(store, &told),
            ToPage::View(_) => {}
        }
    }
    let Some(update) = batch.view else {
        return;
    };
    if update.show != NUMBER.get() {
        return;
    }
    store.progress.set(update.progress);
    let newest_ns = update.headline.as_ref().map(|headline| headline.newest_sample_ns);
    if let Some(headline) = update.headline {
        store.headline.set(Some(headline));
    }
    if let Some(timeline) = update.timeline {
        store.timeline.set(Some(Arc::new(timeline)));
    }
    if let Some(sites) = update.sites {
        store.sites.set(Some(sites));
    }
    if let Some(flame) = update.flame {
        store.flame.set(Some(Arc::new(flame)));
    }
    let follows = store.place.peek(|place| place.view.at_ns.is_none());
    if let (Some(newest_ns), Some(clock), true, true) = (
        newest_ns,
        untrack(|| store.clock()),
        update.progress.caught_up,
        follows,
    ) {
        Latency::measure(latency, store, newest_ns, &clock);
    }
}

/// A report that the hub has computed for the question that is open.
fn put_report(store: Store, told: &[u8]) {
    match postcard::from_bytes::<ReportTold>(told) {
        Ok(told) if told.number != NUMBER.get() => {}
        Ok(ReportTold {
            result: Ok(report), ..
        }) => {
            if let Some(tab) = Tab::ALL.into_iter().find(|tab| tab.report() == Some(report.kind)) {
                store.tables.set((tab, report.tables));
            }
        }
        Ok(ReportTold { result: Err(why), .. }) => store.notice(format!("The hub has no tables: {why}")),
        Err(_) => store.notice("The hub's tables could not be read: reload the page.".to_owned()),
    }
}

/// The browser went back or forward.
pub(crate) fn moved(store: Store) {
    let opened = crate::app::history::present();
    store.problems.set(opened.problems);
    store.place.set(opened.place);
}
