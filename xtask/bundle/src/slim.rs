//! What costs download and does nothing: classes that a dependency exports and nobody uses, hashes in the
//! names between module and glue, and the glue's comments.
//!
//! It works on wasm-bindgen's output, whose form is as fixed as its version. Every step refuses what it
//! does not recognise rather than guess. It leaves out renaming inside of functions: brotli sees to that.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail};
use walrus::{ExportId, Module};

/// What `server_fn` brings with it for streams between server and browser, which the console has none of.
const UNUSED_CLASSES: [&str; 3] = [
    "IntoUnderlyingByteSource",
    "IntoUnderlyingSink",
    "IntoUnderlyingSource",
];

/// Takes the classes out of the glue, their methods out of the module, and with them all that only they use.
pub(crate) fn drop_unused_classes(module: &mut Module, glue: &mut String) -> Result<()> {
    let prefixes: Vec<String> = UNUSED_CLASSES
        .iter()
        .flat_map(|class| {
            let class = class.to_lowercase();
            [format!("{class}_"), format!("__wbg_{class}_")]
        })
        .collect();
    let methods: Vec<ExportId> = module
        .exports
        .iter()
        .filter(|export| prefixes.iter().any(|prefix| export.name.starts_with(prefix)))
        .map(|export| export.id())
        .collect();
    for method in methods {
        module.exports.delete(method);
    }
    walrus::passes::gc::run(module);
    *glue = without_classes(glue);
    if let Some(class) = UNUSED_CLASSES.iter().find(|class| glue.contains(*class)) {
        bail!(
            "the glue still speaks of {class} after its class is gone: look at its form in wasm-bindgen's output"
        );
    }
    let imported: BTreeSet<&str> = module.imports.iter().map(|import| import.name.as_str()).collect();
    *glue = without_entries(glue, &imported);
    Ok(())
}

/// A class reaches from its first line to the one for `Symbol.dispose`, its finalizer to a semicolon.
fn without_classes(glue: &str) -> String {
    let mut out = String::with_capacity(glue.len());
    let (mut in_class, mut in_finalizer) = (false, false);
    for line in glue.lines() {
        let starts = |prefix: &str, suffix: &str| {
            UNUSED_CLASSES.iter().any(|class| {
                line.strip_prefix(prefix)
                    .and_then(|rest| rest.strip_prefix(class))
                    .is_some_and(|rest| rest.starts_with(suffix))
            })
        };
        in_class |= starts("export class ", " {");
        in_finalizer |= starts("const ", "Finalization ");
        if in_class {
            in_class = !starts("if (Symbol.dispose) ", ".");
        } else if in_finalizer {
            in_finalizer = !line.trim_end().ends_with(';');
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Leaves out the functions of the import object that the module no longer asks for.
fn without_entries(glue: &str, imported: &BTreeSet<&str>) -> String {
    let mut out = String::with_capacity(glue.len());
    let mut skipping = false;
    for line in glue.lines() {
        if let Some((name, _)) = line.trim_start().split_once(": function(")
            && name.starts_with("__wb")
        {
            skipping = !imported.contains(name);
        }
        if !skipping {
            out.push_str(line);
            out.push('\n');
        } else if line == "}," || line == "}, arguments); }," {
            skipping = false;
        }
    }
    out
}

/// Gives what passes between module and glue names of two or three letters: each of wasm-bindgen's own
/// carries a hash of 16 digits, twice, which is what compresses worst.
pub(crate) fn shorten_names(module: &mut Module, glue: &mut String) -> Result<()> {
    // Exports without a mark of wasm-bindgen's are the console's own, called from its static files.
    let own = |name: &str| !name.contains("__");
    let imports = module.imports.iter().map(|import| import.name.clone());
    let exports = module.exports.iter().map(|export| export.name.clone());
    let names: BTreeSet<String> = imports.chain(exports).filter(|name| !own(name)).collect();
    if glue.contains("$a") {
        bail!("the glue has a name that begins with $a already");
    }
    let short: BTreeMap<String, String> = names
        .into_iter()
        .enumerate()
        .map(|(number, name)| (name, format!("$a{}", letters(number))))
        .collect();
    for import in module.imports.iter_mut() {
        if let Some(name) = short.get(&import.name) {
            import.name.clone_from(name);
        }
    }
    for export in module.exports.iter_mut() {
        if let Some(name) = short.get(&export.name) {
            export.name.clone_from(name);
        }
    }
    *glue = renamed(glue, &short);
    Ok(())
}

/// `a` to `z`, then `ba`, `bb` and on.
fn letters(mut number: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.push(b'a' + (number % 26) as u8);
        number /= 26;
        if number == 0 {
            break;
        }
    }
    text.iter().rev().map(|letter| char::from(*letter)).collect()
}

/// Replaces whole names.
fn renamed(glue: &str, short: &BTreeMap<String, String>) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '$';
    let mut out = String::with_capacity(glue.len());
    let mut rest = glue;
    while !rest.is_empty() {
        let name = rest.find(|letter| !is_part(letter)).unwrap_or(rest.len());
        let word = &rest[..name];
        out.push_str(short.get(word).map_or(word, String::as_str));
        let other = rest[name..].find(is_part).unwrap_or(rest.len() - name);
        out.push_str(&rest[name..name + other]);
        rest = &rest[name + other..];
    }
    out
}

/// Without comments on lines of their own, indentation and empty lines. A glue whose strings run over
/// lines stays as it is.
pub(crate) fn without_comments(glue: &str) -> String {
    if glue
        .lines()
        .any(|line| line.matches('`').count() % 2 == 1 && !is_comment(line))
    {
        return glue.to_owned();
    }
    let mut out = String::with_capacity(glue.len());
    let mut inside = false;
    for line in glue.lines().map(str::trim) {
        inside |= line.starts_with("/*");
        if inside {
            inside = !line.ends_with("*/");
        } else if !line.is_empty() && !line.starts_with("//") {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn is_comment(line: &str) -> bool {
    ["/*", "*", "//"]
        .iter()
        .any(|mark| line.trim_start().starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the form of wasm-bindgen 0.2.130.
    const GLUE: &str = "
export class IntoUnderlyingSink {
free() {
            const ptr = this.__destroy_into_raw();
        }
        /**
 * @returns {Promise<any>}
 */
close() {
const ret = wasm.intounderlyingsink_close(ptr);
}
}
if (Symbol.dispose) IntoUnderlyingSink.prototype[Symbol.dispose] = IntoUnderlyingSink.prototype.free;

/**
 * Called by `boot.js`.
 */
export function start(worker) {
    // Said on the way.
    wasm.start(worker);
}
const import0 = {
__wbg_close_0123456789abcdef: function() { return handleError(function (arg0) {
const ret = arg0.close();
}, arguments); },
__wbg_byob_0123456789abcdef: function(arg0) {
return arg0;
},
__wbg_open_fedcba9876543210: function(arg0) {
return \"__wbg_open_fedcba9876543210x\";
},
};
const IntoUnderlyingSinkFinalization = (typeof FinalizationRegistry === 'undefined')
? { register: () => {}, unregister: () => {} }
: new FinalizationRegistry(ptr => wasm.__wbg_intounderlyingsink_free(ptr, 1));
export { initSync };
";

    #[test]
    fn classes_entries_and_comments_go_and_the_rest_stays() {
        let glue = without_classes(GLUE);
        let imported = BTreeSet::from(["__wbg_open_fedcba9876543210"]);
        let glue = without_comments(&without_entries(&glue, &imported));
        assert_eq!(
            glue,
            "export function start(worker) {
wasm.start(worker);
}
const import0 = {
__wbg_open_fedcba9876543210: function(arg0) {
return \"__wbg_open_fedcba9876543210x\";
},
};
export { initSync };
"
        );
    }

    #[test]
    fn names_are_replaced_whole() {
        let short = BTreeMap::from([("__wbg_open_fedcba9876543210".to_owned(), "$aa".to_owned())]);
        for (glue, expect) in [
            ("__wbg_open_fedcba9876543210", "$aa"),
            ("{ __wbg_open_fedcba9876543210: f }", "{ $aa: f }"),
            ("__wbg_open_fedcba9876543210x", "__wbg_open_fedcba9876543210x"),
            ("é wasm.__wbg_open_fedcba9876543210(é)", "é wasm.$aa(é)"),
            ("", ""),
        ] {
            assert_eq!(renamed(glue, &short), expect);
        }
        for (number, expect) in [(0, "a"), (25, "z"), (26, "ba"), (26 * 26, "baa")] {
            assert_eq!(letters(number), expect);
        }
    }

    #[test]
    fn a_string_over_lines_is_left_alone() {
        let glue = "  const text = `one\n  // two`;\n";
        assert_eq!(without_comments(glue), glue);
    }
}
