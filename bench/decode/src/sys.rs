//! The module's exports, for a page that has nothing but `WebAssembly.instantiate`: no bindings generator
//! stands between the clock and the work.

#![expect(
    unsafe_code,
    reason = "an exported symbol without its mangled name is `unsafe` to declare"
)]

use crate::{Corpus, Work};
use std::sync::{Mutex, PoisonError};

static FILE: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static CORPUS: Mutex<Option<Corpus>> = Mutex::new(None);

/// Room for a corpus file; the page writes it there.
// SAFETY: the name is not used by anything else in the module.
#[unsafe(no_mangle)]
extern "C" fn heaptide_room(bytes: usize) -> *mut u8 {
    let mut file = FILE.lock().unwrap_or_else(PoisonError::into_inner);
    file.clear();
    file.resize(bytes, 0);
    file.as_mut_ptr()
}

/// Reads what was written; returns the number of events, 0 if it is no corpus.
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn heaptide_load() -> usize {
    let file = std::mem::take(&mut *FILE.lock().unwrap_or_else(PoisonError::into_inner));
    let corpus = Corpus::read(&file);
    let events = corpus.as_ref().map_or(0, Corpus::events);
    *CORPUS.lock().unwrap_or_else(PoisonError::into_inner) = corpus;
    events
}

/// One run over the corpus; `work` is a number of [`Work`].
// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn heaptide_run(work: usize) -> usize {
    let mut corpus = CORPUS.lock().unwrap_or_else(PoisonError::into_inner);
    match (corpus.as_mut(), Work::ALL.get(work)) {
        (Some(corpus), Some(work)) => corpus.run(*work),
        _ => 0,
    }
}
