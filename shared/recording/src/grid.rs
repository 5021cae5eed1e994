//! Text in columns: numbers to the right, words to the left, the last column as long as it likes.

use std::fmt::Write as _;

const GAP: &str = "  ";
/// Wider cells push the rest of their line, so that one long name doesn't stretch a table for all.
const WIDEST: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

#[derive(Debug)]
pub(crate) struct Grid {
    aligns: Vec<Align>,
    rows: Vec<Line>,
}

#[derive(Debug)]
enum Line {
    Cells(Vec<String>),
    /// Below a row and belonging to it.
    Note(String),
}

impl Grid {
    pub(crate) fn new(aligns: Vec<Align>) -> Self {
        Self {
            aligns,
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(Line::Cells(cells));
    }

    pub(crate) fn note(&mut self, text: String) {
        self.rows.push(Line::Note(text));
    }

    /// Each line indented by two.
    pub(crate) fn write(&self, out: &mut String) {
        let mut widths = vec![0; self.aligns.len()];
        for line in &self.rows {
            if let Line::Cells(cells) = line {
                for (width, cell) in widths.iter_mut().zip(cells) {
                    *width = (*width).max(width_of(cell).min(WIDEST));
                }
            }
        }
        for line in &self.rows {
            let mut text = String::from(GAP);
            match line {
                Line::Note(note) => text.push_str(note),
                Line::Cells(cells) => {
                    for (at, cell) in cells.iter().enumerate() {
                        if at > 0 {
                            text.push_str(GAP);
                        }
                        let width = widths.get(at).copied().unwrap_or(0);
                        let pad = width.saturating_sub(width_of(cell));
                        match self.aligns.get(at) {
                            Some(Align::Right) => {
                                let _ = write!(text, "{:pad$}{cell}", "");
                            }
                            _ => {
                                let _ = write!(text, "{cell}{:pad$}", "");
                            }
                        }
                    }
                }
            }
            out.push_str(text.trim_end());
            out.push('\n');
        }
    }
}

/// Rows of words, each column as wide as it must be, with notes below them.
pub fn columns(rows: impl Iterator<Item = (Vec<String>, Vec<String>)>) -> String {
    let rows: Vec<_> = rows.collect();
    let count = rows.iter().map(|(cells, _)| cells.len()).max().unwrap_or(0);
    let mut grid = Grid::new(vec![Align::Left; count]);
    for (cells, notes) in rows {
        grid.row(cells);
        for note in notes {
            grid.note(format!("    {note}"));
        }
    }
    let mut out = String::new();
    grid.write(&mut out);
    out
}

fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_on_the_right_and_nothing_trails() {
        let mut grid = Grid::new(vec![Align::Right, Align::Left, Align::Left]);
        for cells in [
            ["live", "", "site"],
            ["1.00 MiB", "±", "main.a"],
            ["512 B", "", ""],
        ] {
            grid.row(cells.map(str::to_owned).to_vec());
        }
        grid.note("  main.b".to_owned());
        let mut out = String::new();
        grid.write(&mut out);
        assert_eq!(
            out,
            "      live     site\n  1.00 MiB  ±  main.a\n     512 B\n    main.b\n"
        );
    }
}
