//! A tree of path patterns. A clone is one pointer and shares all nodes; an edit copies only
//! the nodes on its way, so that readers of an older clone are not disturbed.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use super::pattern::Segment;

/// Values by path pattern.
#[derive(Clone, Debug)]
pub struct Trie<T> {
    root: Arc<Node<T>>,
}

#[derive(Clone, Debug)]
struct Node<T> {
    literals: BTreeMap<Arc<str>, Arc<Node<T>>>,
    param: Option<Arc<Node<T>>>,
    rest: Option<Arc<Node<T>>>,
    value: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: BTreeMap::new(), param: None, rest: None, value: None }
    }
}

impl<T> Default for Trie<T> {
    fn default() -> Self {
        Self { root: Arc::default() }
    }
}

impl<T: Clone> Trie<T> {
    /// Change the value of a pattern; `None` in, when it has none yet; `None` out, to remove it.
    pub fn edit(&mut self, pattern: &[Segment], change: impl FnOnce(&mut Option<T>)) {
        Node::edit(&mut self.root, pattern, change);
    }
}

impl<T> Trie<T> {
    /// Offer the values whose patterns match a path, the most specific first: segment by
    /// segment a literal goes before a parameter, and that before the rest. Ends with the
    /// first `Break`.
    pub fn visit<'a, B>(&'a self, path: &str, mut take: impl FnMut(&'a T) -> ControlFlow<B>) -> Option<B> {
        let path = path.strip_prefix('/')?;
        match self.root.visit(Some(path), &mut take) {
            ControlFlow::Break(found) => Some(found),
            ControlFlow::Continue(()) => None,
        }
    }

    /// All values: those of literal segments in the order of their text, then those of a parameter,
    /// then those of the rest.
    pub fn values(&self) -> Vec<&T> {
        let mut values = Vec::new();
        self.root.gather(&mut values);
        values
    }

    /// Whether there is no pattern at all.
    pub fn is_empty(&self) -> bool {
        self.root.is_empty()
    }
}

impl<T: Clone> Node<T> {
    fn edit(this: &mut Arc<Self>, segments: &[Segment], change: impl FnOnce(&mut Option<T>)) {
        let node = Arc::make_mut(this);
        let Some((first, others)) = segments.split_first() else {
            return change(&mut node.value);
        };
        match first {
            Segment::Literal(text) => {
                let child = node.literals.entry(text.as_str().into()).or_default();
                Self::edit(child, others, change);
                if child.is_empty() {
                    node.literals.remove(text.as_str());
                }
            }
            Segment::Param => Self::edit_child(&mut node.param, others, change),
            Segment::Rest => Self::edit_child(&mut node.rest, others, change),
        }
    }

    fn edit_child(child: &mut Option<Arc<Self>>, segments: &[Segment], change: impl FnOnce(&mut Option<T>)) {
        let node = child.get_or_insert_default();
        Self::edit(node, segments, change);
        if node.is_empty() {
            *child = None;
        }
    }
}

impl<T> Node<T> {
    fn is_empty(&self) -> bool {
        let Self { literals, param, rest, value } = self;
        literals.is_empty() && param.is_none() && rest.is_none() && value.is_none()
    }

    fn gather<'a>(&'a self, values: &mut Vec<&'a T>) {
        values.extend(&self.value);
        let others = self.param.iter().chain(&self.rest);
        self.literals.values().chain(others).for_each(|child| child.gather(values));
    }

    /// `path` is what is left of it, without the leading slash; `None` at its end. Every node is
    /// met at most once, so that no path is dear to look up.
    fn visit<'a, B>(
        &'a self,
        path: Option<&str>,
        take: &mut impl FnMut(&'a T) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(path) = path else {
            return self.value.as_ref().map_or(ControlFlow::Continue(()), take);
        };
        let (segment, others) = match path.split_once('/') {
            Some((segment, others)) => (segment, Some(others)),
            None => (path, None),
        };
        if let Some(child) = self.literals.get(segment) {
            child.visit(others, take)?;
        }
        if let Some(child) = self.param.as_ref().filter(|_| !segment.is_empty()) {
            child.visit(others, take)?;
        }
        if let Some(value) =
            self.rest.as_ref().and_then(|rest| rest.value.as_ref()).filter(|_| !path.is_empty())
        {
            take(value)?;
        }
        ControlFlow::Continue(())
    }
}
