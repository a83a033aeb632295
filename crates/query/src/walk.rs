//! The two directions of a merge: from the root to the leaves, and from the leaves to the root.

use crate::{
    branch::{Branch, Subtree},
    names::{Frame, SymbolView},
};

/// Where a member's frame is looked up: (view, location, frame).
pub(crate) type FramePlace = (usize, u32, Frame);

/// A direction. A member is a frame of a node of a branch, or a whole branch (the root member).
pub(crate) trait Walk {
    /// A frame that belongs to a candidate.
    type Member: Copy;

    /// The member that stands for a whole branch.
    fn root(&self, at: u32, branch: &Branch) -> Self::Member;

    /// The branch of a member.
    fn branch(&self, member: &Self::Member) -> u32;

    /// Value and weight of a member.
    fn amount(&self, branch: &Branch, member: &Self::Member) -> (i64, u64);

    /// The frame of a member that is not a root.
    fn frame(&self, branches: &[Branch], member: &Self::Member) -> FramePlace;

    /// Adds the members that come after `member`.
    fn children(
        &self,
        branches: &[Branch],
        views: &[SymbolView],
        member: &Self::Member,
        out: &mut Vec<Self::Member>,
    );
}

/// Frame of a root member.
const WHOLE: Frame = Frame::MAX;

/// From the root to the leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Down;

/// A frame of a node; its value is the node's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeFrame {
    branch: u32,
    at: Subtree,
    frame: Frame,
}

impl Walk for Down {
    type Member = NodeFrame;

    fn root(&self, at: u32, branch: &Branch) -> NodeFrame {
        NodeFrame { branch: at, at: branch.root(), frame: WHOLE }
    }

    fn branch(&self, member: &NodeFrame) -> u32 {
        member.branch
    }

    fn amount(&self, branch: &Branch, member: &NodeFrame) -> (i64, u64) {
        branch.amount(member.at)
    }

    fn frame(&self, branches: &[Branch], member: &NodeFrame) -> FramePlace {
        let branch = &branches[member.branch as usize];
        (branch.view, branch.location(member.at.node), member.frame)
    }

    fn children(
        &self,
        branches: &[Branch],
        views: &[SymbolView],
        member: &NodeFrame,
        out: &mut Vec<NodeFrame>,
    ) {
        let NodeFrame { branch: number, at, frame } = *member;
        let branch = &branches[number as usize];
        let view = &views[branch.view];
        if frame != WHOLE
            && let Some(frame) = view.inner(branch.location(at.node), frame)
        {
            out.push(NodeFrame { branch: number, at, frame });
            return;
        }
        out.extend(branch.children(at).filter_map(|child| {
            let location = branch.location(child.node);
            let frame =
                if frame == WHOLE { view.first_from_root(location) } else { view.outermost(location) }?;
            Some(NodeFrame { branch: number, at: child, frame })
        }));
    }
}

/// From the leaves to the root. Branches must have kept their leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Up;

/// A frame of a node with the value of the stacktraces that came up this way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ValuedFrame {
    branch: u32,
    node: u32,
    frame: Frame,
    value: i64,
    weight: u64,
}

impl Walk for Up {
    type Member = ValuedFrame;

    fn root(&self, at: u32, branch: &Branch) -> ValuedFrame {
        let (value, weight) = branch.amount(branch.root());
        ValuedFrame { branch: at, node: 0, frame: WHOLE, value, weight }
    }

    fn branch(&self, member: &ValuedFrame) -> u32 {
        member.branch
    }

    fn amount(&self, _branch: &Branch, member: &ValuedFrame) -> (i64, u64) {
        (member.value, member.weight)
    }

    fn frame(&self, branches: &[Branch], member: &ValuedFrame) -> FramePlace {
        let branch = &branches[member.branch as usize];
        (branch.view, branch.location(member.node), member.frame)
    }

    fn children(
        &self,
        branches: &[Branch],
        views: &[SymbolView],
        member: &ValuedFrame,
        out: &mut Vec<ValuedFrame>,
    ) {
        let ValuedFrame { branch: number, node, frame, value, weight } = *member;
        let branch = &branches[number as usize];
        let view = &views[branch.view];
        let framed =
            |node: u32, frame, value, weight| ValuedFrame { branch: number, node, frame, value, weight };
        if frame == WHOLE {
            out.extend(branch.leaves().iter().filter(|leaf| leaf.node != 0).filter_map(|leaf| {
                let frame = view.first_from_leaf(branch.location(leaf.node))?;
                Some(framed(leaf.node, frame, leaf.value, leaf.weight))
            }));
        } else if let Some(frame) = view.outer(branch.location(node), frame) {
            out.push(framed(node, frame, value, weight));
        } else {
            let parent = branch.parent(node);
            let frame = (parent != 0).then(|| view.innermost(branch.location(parent))).flatten();
            out.extend(frame.map(|frame| framed(parent, frame, value, weight)));
        }
    }
}
