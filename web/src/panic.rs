//! A panic stops the module for good, so the report goes to plain HTML outside of the app: `boot.js`.

use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = globalThis, js_name = heaptideFatal)]
    fn heaptide_fatal(text: &str);
}

pub(crate) fn report_to_script() {
    std::panic::set_hook(Box::new(|info| heaptide_fatal(&info.to_string())));
}
