//! The same answers the slow way: every stacktrace on its own, recursively.

use std::collections::BTreeMap;

use decima_query::{Condition, Filter, FrameCriteria};

use crate::memory::{LineSpec, LocationSpec, Sample};

/// A frame as a report sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Frame {
    pub(crate) location: LocationSpec,
    pub(crate) line: Option<LineSpec>,
}

impl Frame {
    fn name(&self) -> Option<&str> {
        let line = self.line.as_ref()?;
        Some(if line.name.is_empty() { &line.system_name } else { &line.name })
    }

    fn object(&self) -> &str {
        match &self.location.mapping {
            Some((file, build_id)) if build_id.is_empty() => file,
            Some((_, build_id)) => build_id,
            None => "",
        }
    }

    /// What makes frames the same.
    pub(crate) fn key(&self) -> String {
        self.name().map_or_else(|| self.place(), str::to_owned)
    }

    /// Its address and binary.
    pub(crate) fn place(&self) -> String {
        format!("{:#x}@{}", self.location.address, self.object())
    }
}

/// Frames from the root to the leaf.
pub(crate) fn frames(sample: &Sample) -> Vec<Frame> {
    let of = |location: &LocationSpec| -> Vec<Frame> {
        let frame = |line: Option<LineSpec>| Frame { location: location.clone(), line };
        if location.lines.is_empty() {
            vec![frame(None)]
        } else {
            location.lines.iter().rev().map(|line| frame(Some(line.clone()))).collect()
        }
    };
    sample.stack.iter().rev().flat_map(of).collect()
}

/// How stacktraces are looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look<'a> {
    pub(crate) filters: &'a [Filter],
    pub(crate) sandwich: Option<&'a str>,
    pub(crate) invert: bool,
    pub(crate) group_by: &'a [&'a str],
}

impl Look<'_> {
    /// Keys from the first to the last, label set first; `None` if a filter drops it.
    pub(crate) fn path(&self, sample: &Sample) -> Option<Vec<String>> {
        let mut frames = self.visible(sample)?;
        if self.invert {
            frames.reverse();
        }
        let mut path: Vec<String> = frames.iter().map(Frame::key).collect();
        let labels = self.labels(sample);
        if !labels.is_empty() {
            path.insert(0, format!("labels {labels:?}"));
        }
        Some(path)
    }

    /// Values of the group-by labels that it has.
    pub(crate) fn labels(&self, sample: &Sample) -> Vec<String> {
        let value = |name: &&str| {
            let own =
                sample.labels.iter().chain(&sample.attributes).find(|(n, v)| n == *name && !v.is_empty());
            own.map(|(_, value)| value.clone())
        };
        self.group_by.iter().filter_map(value).collect()
    }

    /// Frames from the root to the leaf.
    pub(crate) fn visible(&self, sample: &Sample) -> Option<Vec<Frame>> {
        let mut frames = frames(sample);
        if !frames.is_empty() && !self.filters.iter().all(|filter| keeps_stack(filter, &frames)) {
            return None;
        }
        if let Some(function) = self.sandwich {
            let is_cut = |frame: &Frame| frame.name() == Some(function);
            if self.invert {
                let at = frames.iter().rposition(is_cut)?;
                frames.truncate(at + 1);
            } else {
                let at = frames.iter().position(is_cut)?;
                frames.drain(..at);
            }
        }
        frames.retain(|frame| self.filters.iter().all(|filter| shows_frame(filter, frame)));
        Some(frames)
    }
}

fn keeps_stack(filter: &Filter, frames: &[Frame]) -> bool {
    let Filter::Stack(criteria) = filter else { return true };
    let mut checks = conditions(criteria);
    if criteria.function_name.is_some() {
        checks.truncate(1);
    }
    checks.iter().all(|(field, condition)| {
        let (positive, negative) = positive(condition);
        frames.iter().any(|frame| holds(field, &positive, frame) == Some(true)) != negative
    })
}

fn shows_frame(filter: &Filter, frame: &Frame) -> bool {
    let Filter::Frame(criteria) = filter else { return true };
    conditions(criteria).iter().all(|(field, condition)| {
        let (positive, negative) = positive(condition);
        holds(field, &positive, frame).is_none_or(|hit| hit != negative)
    })
}

fn conditions(criteria: &FrameCriteria) -> Vec<(&'static str, Condition)> {
    let all = [
        ("function_name", &criteria.function_name),
        ("binary", &criteria.binary),
        ("system_name", &criteria.system_name),
        ("filename", &criteria.filename),
        ("address", &criteria.address),
        ("line_number", &criteria.line_number),
    ];
    all.into_iter().filter_map(|(field, condition)| Some((field, condition.clone()?))).collect()
}

fn positive(condition: &Condition) -> (Condition, bool) {
    match condition.clone() {
        Condition::NotEqual(text) => (Condition::Equal(text), true),
        Condition::NotContains(text) => (Condition::Contains(text), true),
        Condition::NotStartsWith(text) => (Condition::StartsWith(text), true),
        Condition::NumberNotEqual(number) => (Condition::NumberEqual(number), true),
        other => (other, false),
    }
}

fn holds(field: &str, condition: &Condition, frame: &Frame) -> Option<bool> {
    let line = frame.line.as_ref();
    let text = match field {
        "function_name" => frame.name()?.to_owned(),
        "binary" => frame.location.mapping.as_ref()?.0.rsplit('/').next()?.to_owned(),
        "system_name" => line?.system_name.clone(),
        "filename" => line?.filename.clone(),
        "address" => return Some(*condition == Condition::NumberEqual(frame.location.address)),
        _ => return Some(*condition == Condition::NumberEqual(line?.line as u64)),
    };
    let text = text.to_lowercase();
    Some(match condition {
        Condition::Equal(wanted) => text == wanted.to_lowercase(),
        Condition::Contains(wanted) => text.contains(&wanted.to_lowercase()),
        Condition::StartsWith(wanted) => text.starts_with(&wanted.to_lowercase()),
        _ => unreachable!("positive conditions on text"),
    })
}

/// A node of a flame graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Node {
    pub(crate) cumulative: i64,
    pub(crate) flat: i64,
    pub(crate) diff: i64,
    pub(crate) children: BTreeMap<String, Node>,
}

impl Node {
    fn add(&mut self, path: &[String], value: i64, diff: i64) {
        self.cumulative += value;
        self.diff += diff;
        match path {
            [] => self.flat += value,
            [first, rest @ ..] => self.children.entry(first.clone()).or_default().add(rest, value, diff),
        }
    }

    pub(crate) fn count(&self) -> usize {
        1 + self.children.values().map(Node::count).sum::<usize>()
    }
}

/// The flame graph of samples, and what was filtered.
pub(crate) fn flamegraph<'s>(samples: impl Iterator<Item = &'s Sample>, look: &Look<'_>) -> (Node, i64) {
    let mut root = Node::default();
    let mut filtered = 0;
    for sample in samples {
        match look.path(sample) {
            Some(path) => root.add(&path, sample.value, 0),
            None => filtered += sample.value,
        }
    }
    (root, filtered)
}

/// The flame graph of the difference, absolute.
pub(crate) fn difference(samples: &[Sample], is_base: impl Fn(&Sample) -> bool, look: &Look<'_>) -> Node {
    let mut root = Node::default();
    for sample in samples {
        if let Some(path) = look.path(sample) {
            let (value, diff) =
                if is_base(sample) { (0, -sample.value) } else { (sample.value, sample.value) };
            root.add(&path, value, diff);
        }
    }
    root
}

/// (cumulative, flat) by function.
pub(crate) fn functions<'s>(
    samples: impl Iterator<Item = &'s Sample>,
    look: &Look<'_>,
) -> BTreeMap<String, (i64, i64)> {
    let mut functions: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for sample in samples {
        let Some(path) = look.path(sample) else { continue };
        let mut distinct = path.clone();
        distinct.sort();
        distinct.dedup();
        for key in distinct {
            functions.entry(key).or_default().0 += sample.value;
        }
        if let Some(last) = path.last() {
            functions.entry(last.clone()).or_default().1 += sample.value;
        }
    }
    functions
}
