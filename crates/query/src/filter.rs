//! Which stacktraces and frames of a tree a report shows.
//!
//! A *stack* filter keeps or drops whole stacktraces: a positive condition wants some frame that fulfils it, a negative one no
//! frame that fulfils its opposite. If a stack filter names a function, its other conditions are ignored (as in Parca).
//! A *frame* filter hides the frames that do not fulfil all its conditions; their callees move up, values stay.
//! A *sandwich* cuts stacktraces at a function: towards the leaves it keeps the outermost occurrence and what it calls,
//! towards the root the innermost occurrence and what calls it; stacktraces without it are dropped.
//!
//! Text is compared without regard to ASCII case, except for the sandwich. A stacktrace without frames passes stack filters.
//! Each text is tested once per condition and source, each location once, and each tree takes one pass from the root.

use decima_store::source::Tree;

use crate::{
    api::{Condition, Filter, FrameCriteria, QueryError},
    branch::Visibility,
    names::{Entry, Frame, FrameState, SymbolView},
};

/// Conditions of all filters together at most: they are bits of one word, the last of which says "known".
const CONDITIONS_MAX: usize = 63;
const KNOWN: u64 = 1 << CONDITIONS_MAX;

/// What a condition looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    FunctionName,
    Binary,
    SystemName,
    Filename,
    Address,
    LineNumber,
}

/// How it looks, in the positive form.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Equal(String),
    Contains(String),
    StartsWith(String),
    Number(u64),
    /// With regard to case.
    Exact(String),
}

#[derive(Debug, Clone, PartialEq)]
struct Check {
    field: Field,
    test: Test,
    negative: bool,
}

/// The filters of a request.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    checks: Vec<Check>,
    /// Checks that stacktraces must pass.
    stack: Vec<usize>,
    /// Checks that shown frames must pass.
    frame: Vec<usize>,
    /// The check that finds the function to cut at.
    sandwich: Option<usize>,
}

/// Which way stacktraces are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the root to the leaves.
    Down,
    /// From the leaves to the root.
    Up,
}

impl Filters {
    /// Reads the filters of a request.
    pub(crate) fn parse(filters: &[Filter], sandwich: Option<&str>) -> Result<Self, QueryError> {
        let mut parsed = Self::default();
        for filter in filters {
            match filter {
                Filter::Stack(criteria) => {
                    let named = criteria.function_name.is_some();
                    for check in
                        checks(criteria)?.into_iter().filter(|c| !named || c.field == Field::FunctionName)
                    {
                        parsed.stack.push(parsed.checks.len());
                        parsed.checks.push(check);
                    }
                }
                Filter::Frame(criteria) => {
                    for check in checks(criteria)? {
                        parsed.frame.push(parsed.checks.len());
                        parsed.checks.push(check);
                    }
                }
            }
        }
        if let Some(name) = sandwich {
            parsed.sandwich = Some(parsed.checks.len());
            let test = Test::Exact(name.to_owned());
            parsed.checks.push(Check { field: Field::FunctionName, test, negative: false });
        }
        if parsed.checks.len() > CONDITIONS_MAX {
            return Err(QueryError::InvalidArgument {
                message: format!("filter: more than {CONDITIONS_MAX} conditions"),
            });
        }
        Ok(parsed)
    }

    fn bits(&self, negative: bool) -> u64 {
        self.stack
            .iter()
            .filter(|&&at| self.checks[at].negative == negative)
            .fold(0, |bits, at| bits | 1 << at)
    }
}

fn checks(criteria: &FrameCriteria) -> Result<Vec<Check>, QueryError> {
    let fields = [
        ("function_name", Field::FunctionName, &criteria.function_name),
        ("binary", Field::Binary, &criteria.binary),
        ("system_name", Field::SystemName, &criteria.system_name),
        ("filename", Field::Filename, &criteria.filename),
        ("address", Field::Address, &criteria.address),
        ("line_number", Field::LineNumber, &criteria.line_number),
    ];
    let given =
        fields.into_iter().filter_map(|(name, field, condition)| Some((name, field, condition.as_ref()?)));
    given.map(|(name, field, condition)| check(name, field, condition)).collect()
}

fn check(name: &str, field: Field, condition: &Condition) -> Result<Check, QueryError> {
    let lower = |text: &String| text.to_ascii_lowercase();
    let (test, negative) = match condition {
        Condition::Equal(text) => (Test::Equal(lower(text)), false),
        Condition::NotEqual(text) => (Test::Equal(lower(text)), true),
        Condition::Contains(text) => (Test::Contains(lower(text)), false),
        Condition::NotContains(text) => (Test::Contains(lower(text)), true),
        Condition::StartsWith(text) => (Test::StartsWith(lower(text)), false),
        Condition::NotStartsWith(text) => (Test::StartsWith(lower(text)), true),
        Condition::NumberEqual(number) => (Test::Number(*number), false),
        Condition::NumberNotEqual(number) => (Test::Number(*number), true),
    };
    let wants_number = matches!(field, Field::Address | Field::LineNumber);
    if wants_number != matches!(test, Test::Number(_)) {
        let kind = if wants_number { "number" } else { "text" };
        return Err(QueryError::InvalidArgument {
            message: format!("filter: {name} is compared with a {kind}"),
        });
    }
    Ok(Check { field, test, negative })
}

impl Test {
    fn text(&self, text: &str, lower: &mut String) -> bool {
        if let Self::Exact(wanted) = self {
            return text == wanted;
        }
        lower.clear();
        lower.push_str(text);
        lower.make_ascii_lowercase();
        match self {
            Self::Equal(wanted) => lower == wanted,
            Self::Contains(wanted) => lower.contains(wanted.as_str()),
            Self::StartsWith(wanted) => lower.starts_with(wanted.as_str()),
            Self::Number(_) | Self::Exact(_) => false,
        }
    }
}

/// The filters applied to the trees of one source.
pub(crate) struct SourceFilter<'f> {
    filters: &'f Filters,
    direction: Direction,
    /// By check, by string: 0 unknown, 1 no, 2 yes.
    texts: Vec<Vec<u8>>,
    /// By location: stack checks that some frame fulfils, and [`KNOWN`].
    stack_hits: Vec<u64>,
    lower: String,
}

impl<'f> SourceFilter<'f> {
    /// Filters for a view, which is prepared to hide frames if need be.
    pub(crate) fn new(filters: &'f Filters, direction: Direction, view: &mut SymbolView) -> Self {
        if !filters.frame.is_empty() {
            view.track_hidden();
        }
        if filters.sandwich.is_some() {
            view.track_entries();
        }
        let strings = if filters.checks.is_empty() { 0 } else { view.symbols.strings.len() };
        let locations = if filters.stack.is_empty() { 0 } else { view.symbols.location_count() };
        Self {
            filters,
            direction,
            texts: filters.checks.iter().map(|_| vec![0; strings]).collect(),
            stack_hits: vec![0; locations],
            lower: String::new(),
        }
    }

    /// What is visible of a tree.
    pub(crate) fn visibility(&mut self, view: &mut SymbolView, tree: &Tree) -> Visibility {
        let mut visibility = Visibility::default();
        if !self.filters.stack.is_empty() {
            visibility.kept = Some(self.kept(view, tree));
        }
        if !self.filters.frame.is_empty() {
            visibility.shown_as = Some(self.shown_as(view, tree));
        }
        if let Some(check) = self.filters.sandwich {
            self.cut(check, view, tree, &mut visibility);
        }
        visibility
    }

    fn kept(&mut self, view: &SymbolView, tree: &Tree) -> Vec<bool> {
        let (wanted, unwanted) = (self.filters.bits(false), self.filters.bits(true));
        let mut hits = vec![0u64; tree.parent.len()];
        let mut kept = vec![true; tree.parent.len()];
        for node in 1..tree.parent.len() {
            let here = hits[tree.parent[node] as usize] | self.location_hits(view, tree.location[node]);
            hits[node] = here;
            kept[node] = here & wanted == wanted && here & unwanted == 0;
        }
        kept
    }

    fn location_hits(&mut self, view: &SymbolView, location: u32) -> u64 {
        let known = self.stack_hits.get(location as usize).copied().unwrap_or(KNOWN);
        if known & KNOWN != 0 {
            return known;
        }
        let mut hits = KNOWN;
        for &check in &self.filters.stack {
            if view.all_frames(location).any(|frame| self.hits(check, view, location, frame) == Some(true)) {
                hits |= 1 << check;
            }
        }
        self.stack_hits[location as usize] = hits;
        hits
    }

    fn shown_as(&mut self, view: &mut SymbolView, tree: &Tree) -> Vec<u32> {
        let mut shown_as = vec![0; tree.parent.len()];
        for node in 1..tree.parent.len() {
            let location = tree.location[node];
            for frame in view.all_frames(location) {
                if view.frame_state(frame) == FrameState::Unknown {
                    let shown = self.is_shown(view, location, frame);
                    view.set_frame_state(frame, if shown { FrameState::Shown } else { FrameState::Hidden });
                }
            }
            let visible = view.outermost(location).is_some();
            shown_as[node] = if visible { node as u32 } else { shown_as[tree.parent[node] as usize] };
        }
        shown_as
    }

    fn is_shown(&mut self, view: &SymbolView, location: u32, frame: Frame) -> bool {
        let filters = self.filters;
        // What cannot be tested passes: an address without a name is not hidden for its name.
        filters.frame.iter().all(|&check| {
            self.hits(check, view, location, frame).is_none_or(|hit| hit != filters.checks[check].negative)
        })
    }

    /// Cuts stacktraces at a function.
    fn cut(&mut self, check: usize, view: &mut SymbolView, tree: &Tree, visibility: &mut Visibility) {
        let nodes = tree.parent.len();
        // The nearest node with the function, from the node itself towards the root; 0 = none.
        let mut nearest = vec![0u32; nodes];
        for node in 1..nodes {
            let found = self.entry(check, view, tree.location[node]) != Entry::None;
            nearest[node] = if found { node as u32 } else { nearest[tree.parent[node] as usize] };
        }
        let kept = visibility.kept.get_or_insert_with(|| vec![true; nodes]);
        for (kept, &nearest) in kept.iter_mut().zip(&nearest) {
            *kept &= nearest != 0;
        }
        match self.direction {
            Direction::Up => visibility.starts_at = Some(nearest),
            Direction::Down => {
                let shown_as = visibility.shown_as.get_or_insert_with(|| (0..nodes as u32).collect());
                for node in 1..nodes {
                    if nearest[node] == 0 {
                        shown_as[node] = 0;
                    } else if shown_as[node] != node as u32 {
                        // Hidden by another filter: the ancestor may have lost its place.
                        shown_as[node] = shown_as[tree.parent[node] as usize];
                    }
                }
            }
        }
    }

    fn entry(&mut self, check: usize, view: &mut SymbolView, location: u32) -> Entry {
        match view.entry(location) {
            Entry::Unknown => {}
            known => return known,
        }
        let mut at = view.all_frames(location).filter(|&f| self.hits(check, view, location, f) == Some(true));
        let entry = match at.next() {
            None => Entry::None,
            Some(inner) => Entry::Frames { inner, outer: at.last().unwrap_or(inner) },
        };
        view.set_entry(location, entry);
        entry
    }

    /// Whether a frame fulfils the positive form of a check; `None` if it lacks what is looked at.
    fn hits(&mut self, check: usize, view: &SymbolView, location: u32, frame: Frame) -> Option<bool> {
        let Check { field, test, .. } = &self.filters.checks[check];
        let string = match field {
            Field::Address => {
                let address = view.symbols.location_address.get(location as usize)?;
                return Some(*test == Test::Number(*address));
            }
            Field::LineNumber => {
                let line = view.line(frame)?.line;
                return Some(u64::try_from(line).is_ok_and(|line| *test == Test::Number(line)));
            }
            Field::Binary => view.mapping(location)?.file,
            Field::FunctionName => view.name_string(frame)?,
            Field::SystemName => view.function(frame)?.system_name,
            Field::Filename => view.function(frame)?.filename,
        };
        let known = self.texts[check].get_mut(string as usize)?;
        if *known == 0 {
            let text = view.symbols.strings.get(string);
            let text = if *field == Field::Binary { text.rsplit('/').next().unwrap_or(text) } else { text };
            *known = 1 + u8::from(test.text(text, &mut self.lower));
        }
        Some(*known == 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_error(criteria: FrameCriteria, expected: &str) {
        let error = Filters::parse(&[Filter::Frame(criteria)], None).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn conditions_fit_their_fields() {
        check_error(
            FrameCriteria { address: Some(Condition::Equal("1".to_owned())), ..FrameCriteria::default() },
            "filter: address is compared with a number",
        );
        check_error(
            FrameCriteria { binary: Some(Condition::NumberEqual(1)), ..FrameCriteria::default() },
            "filter: binary is compared with a text",
        );
        let one = FrameCriteria { line_number: Some(Condition::NumberEqual(1)), ..FrameCriteria::default() };
        let many = vec![Filter::Stack(one); CONDITIONS_MAX + 1];
        assert!(Filters::parse(&many, None).is_err());
        assert!(Filters::parse(&many[1..], None).is_ok());
        assert!(Filters::parse(&many[1..], Some("f")).is_err());
    }
}
