//! A flame graph made ready: everything that depends on the data alone, so that zooming and scrolling
//! don't compute it again.

use std::sync::Arc;

use heaptide_analysis::views::{Figure, Flame};
use heaptide_protocol::session::Method;

use super::key::keys_of;
use super::{Hue, Layout, NodeKey, hue_of};

#[derive(Debug, Clone)]
pub struct Scene {
    pub flame: Arc<Flame>,
    pub layout: Layout,
    keys: Vec<NodeKey>,
    /// One per string, though only functions have a use for it.
    hues: Vec<Hue>,
}

impl Scene {
    /// Of no data.
    pub fn empty() -> Self {
        Self::new(Arc::new(Flame {
            total: Figure {
                value: 0.0,
                low: 0.0,
                high: 0.0,
                method: Method::Exact,
            },
            samples: 0,
            strings: Vec::new(),
            nodes: Vec::new(),
            merged_nodes: 0,
            hidden_bytes: 0.0,
        }))
    }

    pub fn new(flame: Arc<Flame>) -> Self {
        Self {
            layout: Layout::new(&flame),
            keys: keys_of(&flame),
            hues: flame.strings.iter().map(|text| hue_of(text)).collect(),
            flame,
        }
    }

    pub fn key(&self, node: u32) -> Option<NodeKey> {
        self.keys.get(node as usize).copied()
    }

    pub fn find(&self, key: NodeKey) -> Option<u32> {
        self.keys
            .iter()
            .position(|&other| other == key)
            .map(|index| index as u32)
    }

    pub fn hue(&self, node: u32) -> Hue {
        let function = self
            .flame
            .nodes
            .get(node as usize)
            .map_or(u32::MAX, |node| node.function);
        self.hues.get(function as usize).copied().unwrap_or(Hue::Runtime)
    }

    pub fn function(&self, node: u32) -> &str {
        self.string(
            self.flame
                .nodes
                .get(node as usize)
                .map_or(u32::MAX, |node| node.function),
        )
    }

    /// `file.go:12`; empty if the file isn't known.
    pub fn place(&self, node: u32) -> String {
        let Some(found) = self.flame.nodes.get(node as usize) else {
            return String::new();
        };
        match self.string(found.file) {
            "" => String::new(),
            file if found.line == 0 => file.to_owned(),
            file => format!("{file}:{}", found.line),
        }
    }

    /// Of the whole graph, 0 to 1.
    pub fn share(&self, node: u32) -> f64 {
        if (node as usize) < self.layout.len() {
            self.layout.width(node)
        } else {
            0.0
        }
    }

    fn string(&self, id: u32) -> &str {
        self.flame.strings.get(id as usize).map_or("", String::as_str)
    }
}
