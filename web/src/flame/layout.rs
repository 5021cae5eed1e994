//! Where each node lies: its left edge and width as shares of the whole, and the nodes of each row.

use heaptide_analysis::views::Flame;

/// Built once per refresh, in one pass; everything after it works on what is in view.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    left: Vec<f64>,
    width: Vec<f64>,
    /// One past the last node below this one, in pre-order.
    end: Vec<u32>,
    parent: Vec<u32>,
    depth: Vec<u32>,
    /// Nodes by row, from left to right.
    by_row: Vec<u32>,
    /// Where in `by_row` each row begins, and its end.
    row_starts: Vec<u32>,
}

/// A move through the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Parent,
    Child,
    Next,
    Previous,
    First,
}

impl Layout {
    pub fn new(flame: &Flame) -> Self {
        let count = flame.nodes.len();
        let roots: f64 = flame
            .nodes
            .iter()
            .filter(|node| node.depth == 0)
            .map(|node| clean(node.total_bytes))
            .sum();
        let whole = roots.max(clean(flame.total.value));
        let mut layout = Self {
            left: Vec::with_capacity(count),
            width: Vec::with_capacity(count),
            end: vec![0; count],
            parent: Vec::with_capacity(count),
            depth: Vec::with_capacity(count),
            by_row: vec![0; count],
            row_starts: Vec::new(),
        };
        // The open path: each node and where its next child begins.
        let mut path: Vec<(u32, f64)> = Vec::new();
        let mut root_left = 0.0;
        for (index, node) in flame.nodes.iter().enumerate() {
            let id = index as u32;
            // A depth that skips a level would leave a hole; the tree is what the order says.
            while path.len() > node.depth as usize {
                if let Some((closed, _)) = path.pop() {
                    layout.end[closed as usize] = id;
                }
            }
            let share = if whole > 0.0 {
                clean(node.total_bytes) / whole
            } else {
                0.0
            };
            let (left, width, parent) = match path.last_mut() {
                Some((parent, cursor)) => {
                    let at = *parent as usize;
                    let room = (layout.left[at] + layout.width[at] - *cursor).max(0.0);
                    let width = share.min(room);
                    let left = *cursor;
                    *cursor += width;
                    (left, width, *parent)
                }
                None => {
                    let left = root_left;
                    root_left += share;
                    (left, share, id)
                }
            };
            layout.left.push(left);
            layout.width.push(width);
            layout.parent.push(parent);
            layout.depth.push(path.len() as u32);
            path.push((id, left));
        }
        for (open, _) in path {
            layout.end[open as usize] = count as u32;
        }
        layout.sort_into_rows();
        layout
    }

    /// A counting sort: pre-order already goes from left to right within a row.
    fn sort_into_rows(&mut self) {
        let rows = self.depth.iter().max().map_or(0, |&deepest| deepest as usize + 1);
        let mut starts = vec![0_u32; rows + 1];
        for &depth in &self.depth {
            starts[depth as usize + 1] += 1;
        }
        for row in 0..rows {
            starts[row + 1] += starts[row];
        }
        let mut next = starts.clone();
        for (node, &depth) in self.depth.iter().enumerate() {
            let slot = &mut next[depth as usize];
            self.by_row[*slot as usize] = node as u32;
            *slot += 1;
        }
        self.row_starts = starts;
    }

    pub fn len(&self) -> usize {
        self.left.len()
    }

    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub fn rows(&self) -> usize {
        self.row_starts.len().saturating_sub(1)
    }

    /// The nodes of a row, from left to right.
    pub fn row(&self, row: usize) -> &[u32] {
        match (self.row_starts.get(row), self.row_starts.get(row + 1)) {
            (Some(&from), Some(&to)) => &self.by_row[from as usize..to as usize],
            _ => &[],
        }
    }

    /// A share of the whole, 0 to 1.
    pub fn left(&self, node: u32) -> f64 {
        self.left[node as usize]
    }

    /// A share of the whole, 0 to 1.
    pub fn width(&self, node: u32) -> f64 {
        self.width[node as usize]
    }

    pub fn depth(&self, node: u32) -> u32 {
        self.depth[node as usize]
    }

    /// A root is its own parent.
    pub fn parent(&self, node: u32) -> u32 {
        self.parent[node as usize]
    }

    /// One past the last node below this one, in pre-order.
    pub fn end(&self, node: u32) -> u32 {
        self.end[node as usize]
    }

    pub fn has_children(&self, node: u32) -> bool {
        self.end(node) > node + 1
    }

    /// The nodes right below, the largest first; of `None`, the roots.
    pub fn children(&self, node: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        let (mut at, end) = match node {
            Some(node) => (node + 1, self.end(node)),
            None => (0, self.len() as u32),
        };
        std::iter::from_fn(move || {
            let child = (at < end).then_some(at)?;
            at = self.end(child);
            Some(child)
        })
    }

    /// Among its siblings, from 1, and how many they are.
    pub fn position(&self, node: u32) -> (u32, u32) {
        let parent = self.parent(node);
        let siblings = self.children((parent != node).then_some(parent));
        siblings.fold((0, 0), |(position, count), sibling| {
            (position + u32::from(sibling <= node), count + 1)
        })
    }

    /// Where a step leads; `None` if there is nothing there.
    pub fn step(&self, node: u32, step: Step) -> Option<u32> {
        if node as usize >= self.len() {
            return None;
        }
        let parent = self.parent(node);
        let above = (parent != node).then_some(parent);
        match step {
            Step::Parent => above,
            Step::Child => self.has_children(node).then_some(node + 1),
            Step::First => self.children(above).next(),
            Step::Next => {
                let next = self.end(node);
                let limit = above.map_or(self.len() as u32, |above| self.end(above));
                (next < limit).then_some(next)
            }
            Step::Previous => self.children(above).take_while(|&sibling| sibling < node).last(),
        }
    }
}

/// Sizes are never negative; what isn't a number counts as nothing.
fn clean(bytes: f64) -> f64 {
    if bytes.is_finite() { bytes.max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn tree() -> Layout {
        Layout::new(&sample::flame(&[
            ("main", 0, 80.0),
            ("serve", 1, 60.0),
            ("read", 2, 30.0),
            ("write", 2, 20.0),
            ("log", 1, 10.0),
            ("gc", 0, 20.0),
        ]))
    }

    #[test]
    fn boxes_are_shares_side_by_side_under_their_parent() {
        let layout = tree();
        let boxes: Vec<_> = (0..6)
            .map(|id| (layout.left(id), layout.width(id), layout.depth(id)))
            .collect();
        let expect = [
            (0.0, 0.8, 0),
            (0.0, 0.6, 1),
            (0.0, 0.3, 2),
            (0.3, 0.2, 2),
            (0.6, 0.1, 1),
            (0.8, 0.2, 0),
        ];
        for (got, want) in boxes.iter().zip(expect) {
            assert!(
                (got.0 - want.0).abs() < 1e-12 && (got.1 - want.1).abs() < 1e-12,
                "{got:?} {want:?}"
            );
            assert_eq!(got.2, want.2);
        }
        assert_eq!(
            [layout.row(0), layout.row(1), layout.row(2)],
            [&[0, 5][..], &[1, 4], &[2, 3]]
        );
        assert_eq!(layout.rows(), 3);
    }

    #[test]
    fn steps() {
        let layout = tree();
        assert_eq!(
            [0, 4, 5].map(|node| layout.position(node)),
            [(1, 2), (2, 2), (2, 2)]
        );
        for (from, step, expect) in [
            (0, Step::Parent, None),
            (0, Step::Child, Some(1)),
            (0, Step::Next, Some(5)),
            (5, Step::Previous, Some(0)),
            (5, Step::Child, None),
            (1, Step::Next, Some(4)),
            (4, Step::Next, None),
            (4, Step::Previous, Some(1)),
            (4, Step::First, Some(1)),
            (3, Step::Parent, Some(1)),
            (9, Step::Parent, None),
        ] {
            assert_eq!(layout.step(from, step), expect, "{from} {step:?}");
        }
    }

    #[test]
    fn children_never_leave_their_parent() {
        // Independent estimates may add up to more than the whole, or be nonsense.
        for odd in [90.0, -5.0, f64::NAN, f64::INFINITY] {
            let layout = Layout::new(&sample::flame(&[
                ("a", 0, 50.0),
                ("b", 1, 30.0),
                ("c", 1, odd),
                ("d", 1, 1.0),
            ]));
            for node in 1..4 {
                assert!(layout.left(node) >= 0.0 && layout.width(node) >= 0.0);
                assert!(
                    layout.left(node) + layout.width(node) <= layout.width(0) + 1e-12,
                    "{odd} {node}"
                );
            }
        }
        // What was merged at the root still takes its room.
        let mut flame = sample::flame(&[("a", 0, 50.0)]);
        flame.total.value = 100.0;
        assert_eq!(Layout::new(&flame).width(0), 0.5);
    }

    #[test]
    fn nothing_to_lay_out() {
        let layout = Layout::new(&sample::flame(&[]));
        assert!(layout.is_empty());
        assert_eq!(
            (layout.rows(), layout.row(0), layout.children(None).count()),
            (0, &[][..], 0)
        );
    }
}
