//! The rows of the table twin: the tree as far as it is open, or the functions with their frames added up.

use heaptide_analysis::order::ranked;

use super::{NodeKey, Scene, path_of};

/// Nodes with at least this share of the whole start open.
const OPEN_FROM_SHARE: f64 = 0.05;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Total,
    Own,
    Name,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeRow {
    pub node: u32,
    /// From 1.
    pub level: u32,
    pub is_open: bool,
    pub has_children: bool,
    /// Among its siblings, from 1.
    pub position: u32,
    pub siblings: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FunctionRow {
    /// The function's largest frame.
    pub node: u32,
    /// Recursion counts once.
    pub total_bytes: f64,
    pub self_bytes: f64,
    pub samples: u64,
    pub frames: u32,
}

/// The tree's visible rows. A node in `toggled` is the other way round than it would start.
pub fn tree_rows(scene: &Scene, toggled: &[NodeKey], order: Order) -> Vec<TreeRow> {
    let mut rows = Vec::new();
    let mut open: Vec<TreeRow> = siblings(scene, None, 1, toggled, order);
    while let Some(row) = open.pop() {
        rows.push(row);
        if row.is_open {
            open.extend(siblings(scene, Some(row.node), row.level + 1, toggled, order));
        }
    }
    rows
}

/// The children of a node, last first.
fn siblings(
    scene: &Scene,
    above: Option<u32>,
    level: u32,
    toggled: &[NodeKey],
    order: Order,
) -> Vec<TreeRow> {
    let nodes: Vec<u32> = scene.layout.children(above).collect();
    let frame = |index: usize| &scene.flame.nodes[nodes[index] as usize];
    let order = ranked(nodes.len(), &|a, b| match order {
        Order::Total => frame(b).total_bytes.total_cmp(&frame(a).total_bytes),
        Order::Own => frame(b).self_bytes.total_cmp(&frame(a).self_bytes),
        Order::Name => scene.function(nodes[a]).cmp(scene.function(nodes[b])),
    });
    let count = nodes.len() as u32;
    let rows = order.iter().zip(1..).map(|(&index, position)| {
        let node = nodes[index as usize];
        let starts_open = scene.share(node) >= OPEN_FROM_SHARE;
        let is_toggled = scene.key(node).is_some_and(|key| toggled.contains(&key));
        let has_children = scene.layout.has_children(node);
        TreeRow {
            node,
            level,
            is_open: has_children && starts_open != is_toggled,
            has_children,
            position,
            siblings: count,
        }
    });
    let mut rows: Vec<TreeRow> = rows.collect();
    rows.reverse();
    rows
}

/// What `toggled` must be for this node's row to be there.
pub fn opened_to(scene: &Scene, toggled: &[NodeKey], node: u32) -> Vec<NodeKey> {
    let mut toggled = toggled.to_vec();
    for above in path_of(&scene.flame, node)
        .into_iter()
        .filter(|&above| above != node)
    {
        let Some(key) = scene.key(above) else { continue };
        let is_open = (scene.share(above) >= OPEN_FROM_SHARE) != toggled.contains(&key);
        if !is_open {
            turn(&mut toggled, key);
        }
    }
    toggled
}

/// Puts a key in, or takes it out.
pub(super) fn turn(toggled: &mut Vec<NodeKey>, key: NodeKey) {
    match toggled.iter().position(|&other| other == key) {
        Some(at) => {
            toggled.swap_remove(at);
        }
        None => toggled.push(key),
    }
}

/// Every function once.
pub fn function_rows(scene: &Scene, order: Order) -> Vec<FunctionRow> {
    let mut rows: Vec<FunctionRow> = Vec::new();
    // Per string, which row is its function's; most strings are functions.
    let mut by_function: Vec<Option<usize>> = vec![None; scene.flame.strings.len()];
    // Per function, where its outermost open frame ends: frames before that are its own callees.
    let mut covered_until: Vec<u32> = Vec::new();
    for (index, node) in scene.flame.nodes.iter().enumerate() {
        let id = index as u32;
        let Some(known) = by_function.get_mut(node.function as usize) else {
            continue;
        };
        let at = *known.get_or_insert_with(|| {
            rows.push(FunctionRow {
                node: id,
                total_bytes: 0.0,
                self_bytes: 0.0,
                samples: 0,
                frames: 0,
            });
            covered_until.push(0);
            rows.len() - 1
        });
        let row = &mut rows[at];
        row.frames += 1;
        row.self_bytes += node.self_bytes;
        if node.total_bytes > scene.flame.nodes[row.node as usize].total_bytes {
            row.node = id;
        }
        if id >= covered_until[at] {
            covered_until[at] = scene.layout.end(id);
            row.total_bytes += node.total_bytes;
            row.samples += node.samples;
        }
    }
    let sorted = ranked(rows.len(), &|a, b| match order {
        Order::Total => rows[b].total_bytes.total_cmp(&rows[a].total_bytes),
        Order::Own => rows[b].self_bytes.total_cmp(&rows[a].self_bytes),
        Order::Name => scene.function(rows[a].node).cmp(scene.function(rows[b].node)),
    });
    sorted.into_iter().map(|index| rows[index as usize]).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sample;
    use super::*;

    fn scene() -> Scene {
        Scene::new(Arc::new(sample::flame(&[
            ("main", 0, 100.0),
            ("walk", 1, 70.0),
            ("walk", 2, 40.0),
            ("alloc", 3, 4.0),
            ("alloc", 1, 20.0),
            ("idle", 0, 3.0),
            ("deep", 1, 1.0),
        ])))
    }

    #[test]
    fn heavy_branches_start_open() {
        let scene = scene();
        let all = tree_rows(&scene, &[], Order::Total);
        let brief: Vec<_> = all
            .iter()
            .map(|row| (row.node, row.level, row.is_open, row.position))
            .collect();
        assert_eq!(
            brief,
            [
                (0, 1, true, 1),
                (1, 2, true, 1),
                (2, 3, true, 1),
                (3, 4, false, 1),
                (4, 2, false, 2),
                (5, 1, false, 2)
            ]
        );
        assert!(all[5].has_children && !all[3].has_children);
    }

    #[test]
    fn toggling_turns_a_node_round() {
        let scene = scene();
        let toggled = [scene.key(1).unwrap(), scene.key(5).unwrap()];
        let nodes: Vec<_> = tree_rows(&scene, &toggled, Order::Total)
            .iter()
            .map(|row| row.node)
            .collect();
        assert_eq!(nodes, [0, 1, 4, 5, 6]);
    }

    #[test]
    fn a_hidden_row_can_be_opened_to() {
        let scene = scene();
        let closed_main = vec![scene.key(0).unwrap()];
        for (toggled, node) in [(vec![], 6), (closed_main, 3), (vec![], 0)] {
            let opened = opened_to(&scene, &toggled, node);
            assert!(
                tree_rows(&scene, &opened, Order::Total)
                    .iter()
                    .any(|row| row.node == node),
                "{node}"
            );
            assert_eq!(opened_to(&scene, &opened, node), opened);
        }
    }

    #[test]
    fn orders() {
        let scene = scene();
        let nodes = |order| {
            tree_rows(&scene, &[], order)
                .iter()
                .map(|row| row.node)
                .collect::<Vec<_>>()
        };
        assert_eq!(nodes(Order::Own), [0, 1, 2, 3, 4, 5]);
        assert_eq!(nodes(Order::Name), [5, 0, 4, 1, 2, 3]);
    }

    #[test]
    fn functions_add_up_and_recursion_counts_once() {
        let scene = scene();
        let rows = function_rows(&scene, Order::Total);
        let brief: Vec<_> = rows
            .iter()
            .map(|row| {
                (
                    scene.function(row.node),
                    row.total_bytes,
                    row.self_bytes,
                    row.frames,
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("main", 100.0, 10.0, 1),
                ("walk", 70.0, 66.0, 2),
                ("alloc", 24.0, 24.0, 2),
                ("idle", 3.0, 2.0, 1),
                ("deep", 1.0, 1.0, 1),
            ]
        );
        assert_eq!(rows[1].node, 1);
        let own: f64 = rows.iter().map(|row| row.self_bytes).sum();
        assert_eq!(own, scene.flame.total.value);
        assert_eq!(function_rows(&scene, Order::Own)[0].total_bytes, 70.0);
    }
}
