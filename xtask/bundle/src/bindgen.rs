//! The JavaScript side of the wasm module, made by the library behind the `wasm-bindgen` command, and both
//! sides made as small to download as they can be without a change of what they do.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use wasm_bindgen_cli_support::Bindgen;

use crate::names::Source;
use crate::{order, slim};

/// The name that static files use for the module's JavaScript.
pub(crate) const GLUE: &str = "app.js";
/// The name that static files use for the module itself.
pub(crate) const MODULE: &str = "app_bg.wasm";

/// `app.js`, `app_bg.wasm` and the snippets that they import.
pub(crate) fn generate(wasm: Vec<u8>) -> Result<Vec<Source>> {
    let mut bindgen = Bindgen::new();
    let failed = |error| anyhow!("wasm-bindgen: {error:#}");
    bindgen
        .input_bytes("app", wasm)
        .web(true)
        .map_err(failed)?
        .typescript(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        // The boot script says where the module is: its name holds a hash that the glue can't know.
        .omit_default_module_path(true);
    let mut output = bindgen.generate_output().map_err(failed)?;

    let mut files = BTreeMap::new();
    for (folder, bodies) in output.snippets() {
        for (number, body) in bodies.iter().enumerate() {
            files.insert(
                format!("snippets/{folder}/inline{number}.js"),
                body.clone().into_bytes(),
            );
        }
    }
    for (path, body) in output.local_modules() {
        files.insert(format!("snippets/{path}"), body.clone().into_bytes());
    }
    let mut glue = output.js().to_owned();
    let module = output.wasm_mut();
    slim::drop_unused_classes(module, &mut glue)?;
    slim::shorten_names(module, &mut glue)?;
    let module = order::by_likeness(&module.emit_wasm())?;
    files.insert(GLUE.to_owned(), slim::without_comments(&glue).into_bytes());
    files.insert(MODULE.to_owned(), module);
    Ok(files
        .into_iter()
        .map(|(name, bytes)| Source {
            templated: false,
            name,
            bytes,
        })
        .collect())
}
