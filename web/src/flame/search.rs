//! Which frames a search means, and how many bytes go through them.

use heaptide_analysis::views::Flame;

use super::Layout;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matches {
    /// One per node.
    pub nodes: Vec<bool>,
    pub frames: u64,
    /// Below the outermost match on each path, so that recursion counts once.
    pub bytes: f64,
}

/// Frames whose function or file contains the text, whatever the case of its ASCII letters. `None` for an empty text.
pub fn search(flame: &Flame, layout: &Layout, text: &str) -> Option<Matches> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    let strings: Vec<bool> = flame
        .strings
        .iter()
        .map(|string| string.to_ascii_lowercase().contains(&text))
        .collect();
    let is_match = |id: u32| strings.get(id as usize).copied().unwrap_or(false);
    let mut found = Matches {
        nodes: Vec::with_capacity(flame.nodes.len()),
        frames: 0,
        bytes: 0.0,
    };
    let mut covered_until = 0;
    for (index, node) in flame.nodes.iter().enumerate() {
        let matches = is_match(node.function) || is_match(node.file);
        found.nodes.push(matches);
        if !matches {
            continue;
        }
        found.frames += 1;
        if index as u32 >= covered_until {
            covered_until = layout.end(index as u32);
            found.bytes += node.total_bytes;
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn outermost_matches_count_once() {
        let flame = sample::flame(&[
            ("main.Walk", 0, 80.0),
            ("main.walk", 1, 60.0),
            ("fmt.Print", 2, 30.0),
            ("fmt.Print", 0, 20.0),
            ("main.walk", 1, 5.0),
        ]);
        let layout = Layout::new(&flame);
        for (text, frames, bytes) in [
            (" WALK ", 3, 85.0),
            ("print", 2, 50.0),
            ("none", 0, 0.0),
            ("file.go", 5, 100.0),
        ] {
            let found = search(&flame, &layout, text).unwrap();
            assert_eq!((found.frames, found.bytes), (frames, bytes), "{text}");
            assert_eq!(found.nodes.iter().filter(|&&hit| hit).count() as u64, frames);
        }
        assert_eq!(search(&flame, &layout, "  "), None);
    }
}
