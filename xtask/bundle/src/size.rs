//! The console's size on the wire, against its budget.

use std::process::ExitCode;

use anyhow::Result;

use crate::manifest::Manifest;

pub(crate) fn report(manifest: &Manifest, limit_bytes: u64) -> Result<ExitCode> {
    let mut files: Vec<_> = manifest.files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.br_bytes));
    println!("{:<44} {:>10} {:>10}", "file", "bytes", "brotli");
    for file in &files {
        println!("{:<44} {:>10} {:>10}", file.path, file.bytes, file.br_bytes);
    }
    let counted = budgeted(manifest);
    let share = counted as f64 * 100.0 / limit_bytes as f64;
    println!("JavaScript and WASM: {counted} of {limit_bytes} bytes compressed ({share:.0} %)");
    if counted > limit_bytes {
        eprintln!("error: {} bytes over the budget", counted - limit_bytes);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What the budget counts: everything that the page runs.
fn budgeted(manifest: &Manifest) -> u64 {
    let runs = |path: &str| path.ends_with(".js") || path.ends_with(".wasm");
    manifest
        .files
        .iter()
        .filter(|file| runs(&file.path))
        .map(|file| file.br_bytes)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Entry;

    #[test]
    fn the_budget_counts_scripts_and_modules_alone() {
        let entry = |path: &str, br_bytes| Entry {
            path: path.into(),
            content_type: String::new(),
            etag: String::new(),
            immutable: true,
            bytes: br_bytes * 3,
            br_bytes,
        };
        let files = vec![
            entry("a.js", 10),
            entry("b.wasm", 100),
            entry("c.css", 1_000),
            entry("index.html", 10_000),
        ];
        let manifest = Manifest {
            inputs: String::new(),
            files,
        };
        assert_eq!(budgeted(&manifest), 110);
        assert_eq!(report(&manifest, 110).unwrap(), ExitCode::SUCCESS);
        assert_eq!(report(&manifest, 109).unwrap(), ExitCode::FAILURE);
    }
}
