//! What frames are called, in ids that hold for the whole query.
//!
//! Every source numbers its strings, functions and locations for itself. A merge needs to know which frames of different
//! sources are the same, and asks only for those it meets: [`Names`] numbers texts and frame keys once for the query, and
//! each [`SymbolView`] remembers what it has already translated in arrays that stay untouched (and so unpaid) otherwise.

use std::{cmp::Ordering, hash::BuildHasher, sync::Arc};

use decima_store::source::{Line, NO_MAPPING, Symbols};
use decima_symbols::Unresolved;
use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::symbolize::Reasons;

/// A text's number in the query; 0 is the empty text.
pub(crate) type TextId = u32;

/// A frame key's number in the query: frames with the same key are the same function to the report.
pub(crate) type KeyId = u32;

/// A frame of a source: the index of a line, or, beyond the last line, of a location without lines.
pub(crate) type Frame = u32;

/// Texts by number, each once.
#[derive(Debug)]
pub(crate) struct Texts {
    bytes: String,
    ends: Vec<usize>,
    table: HashTable<TextId>,
    hasher: DefaultHashBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        let mut texts = Self {
            bytes: String::new(),
            ends: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        };
        texts.id("");
        texts
    }
}

impl Texts {
    /// The number of a text.
    pub(crate) fn id(&mut self, text: &str) -> TextId {
        let Self { bytes, ends, table, hasher } = self;
        let hash = hasher.hash_one(text);
        let eq = |&id: &TextId| get(bytes, ends, id) == text;
        if let Some(&id) = table.find(hash, eq) {
            return id;
        }
        let id = ends.len() as TextId;
        bytes.push_str(text);
        ends.push(bytes.len());
        table.insert_unique(hash, id, |&id| hasher.hash_one(get(bytes, ends, id)));
        id
    }

    /// The text of a number.
    pub(crate) fn get(&self, id: TextId) -> &str {
        get(&self.bytes, &self.ends, id)
    }
}

fn get<'a>(bytes: &'a str, ends: &[usize], id: TextId) -> &'a str {
    let id = id as usize;
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &bytes[start..ends[id]]
}

/// Which fields beside the function's name keep frames apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyFields {
    pub(crate) mapping_file: bool,
    pub(crate) address: bool,
    pub(crate) filename: bool,
}

/// What makes two frames the same. Fields that do not matter are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct FrameKey {
    /// Name of the function, its system name if it has no other; empty if the frame is not symbolised.
    pub(crate) name: TextId,
    /// Of a frame that is not symbolised: build ID, or file if there is none.
    pub(crate) object: TextId,
    pub(crate) mapping_file: TextId,
    pub(crate) filename: TextId,
    pub(crate) address: u64,
}

/// What is known of a frame, or of all frames of a merged node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FrameMeta {
    pub(crate) address: Option<u64>,
    pub(crate) mapping_file: Option<TextId>,
    pub(crate) build_id: Option<TextId>,
    pub(crate) name: Option<TextId>,
    pub(crate) system_name: Option<TextId>,
    pub(crate) filename: Option<TextId>,
    pub(crate) start_line: Option<i64>,
    pub(crate) line: Option<i64>,
    pub(crate) inlined: Option<bool>,
    /// What runs it, as its sender said.
    pub(crate) frame_type: Option<TextId>,
    /// Why it has no function, where that was asked.
    pub(crate) unresolved: Option<Unresolved>,
}

impl FrameMeta {
    /// Forgets what another frame has otherwise.
    pub(crate) fn merge(&mut self, other: &Self) {
        fn keep<T: PartialEq>(mine: &mut Option<T>, other: &Option<T>) {
            if mine != other {
                *mine = None;
            }
        }
        keep(&mut self.address, &other.address);
        keep(&mut self.mapping_file, &other.mapping_file);
        keep(&mut self.build_id, &other.build_id);
        keep(&mut self.name, &other.name);
        keep(&mut self.system_name, &other.system_name);
        keep(&mut self.filename, &other.filename);
        keep(&mut self.start_line, &other.start_line);
        keep(&mut self.line, &other.line);
        keep(&mut self.inlined, &other.inlined);
        keep(&mut self.frame_type, &other.frame_type);
        keep(&mut self.unresolved, &other.unresolved);
    }
}

/// Numbers of texts and frame keys.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) texts: Texts,
    fields: KeyFields,
    keys: Vec<FrameKey>,
    key_ids: HashMap<FrameKey, KeyId>,
}

impl Names {
    pub(crate) fn new(fields: KeyFields) -> Self {
        Self { fields, ..Self::default() }
    }

    /// The key of a frame.
    pub(crate) fn key(&mut self, view: &mut SymbolView, location: u32, frame: Frame) -> KeyId {
        match view.keys[frame as usize] {
            0 => self.resolve(view, location, frame),
            known => known - 1,
        }
    }

    fn resolve(&mut self, view: &mut SymbolView, location: u32, frame: Frame) -> KeyId {
        let id = self.resolve_by_function(view, frame).unwrap_or_else(|| self.intern(view, location, frame));
        view.keys[frame as usize] = id + 1;
        id
    }

    /// The key of a frame whose function alone makes it: the same for all frames of the function.
    fn resolve_by_function(&mut self, view: &mut SymbolView, frame: Frame) -> Option<KeyId> {
        let function = view.line(frame)?.function;
        if self.fields != KeyFields::default() {
            return None;
        }
        let known = *view.function_keys.get(function as usize)?;
        if known != 0 {
            return Some(known - 1);
        }
        if view.name_string(frame)? == 0 {
            return None;
        }
        let id = self.intern(view, 0, frame);
        view.function_keys[function as usize] = id + 1;
        Some(id)
    }

    fn intern(&mut self, view: &mut SymbolView, location: u32, frame: Frame) -> KeyId {
        let key = self.frame_key(view, location, frame);
        *self.key_ids.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.keys.len() as KeyId - 1
        })
    }

    fn frame_key(&mut self, view: &mut SymbolView, location: u32, frame: Frame) -> FrameKey {
        let mut key = FrameKey { name: self.name(view, frame), ..FrameKey::default() };
        let address = view.symbols.location_address.get(location as usize).copied().unwrap_or_default();
        let (file, build_id) = view.mapping_strings(location);
        if key.name == 0 {
            key.object = self.text(view, if build_id == 0 { file } else { build_id });
            key.address = address;
        }
        if self.fields.address {
            key.address = address;
        }
        if self.fields.mapping_file {
            key.mapping_file = self.text(view, file);
        }
        if self.fields.filename {
            key.filename = view.function(frame).map_or(0, |f| self.text(view, f.filename));
        }
        key
    }

    /// The name to show for a frame; empty if it is not symbolised.
    pub(crate) fn name(&mut self, view: &mut SymbolView, frame: Frame) -> TextId {
        view.name_string(frame).map_or(0, |string| self.text(view, string))
    }

    /// The number of a source's string.
    fn text(&mut self, view: &mut SymbolView, string: u32) -> TextId {
        match view.texts.get(string as usize) {
            None => 0,
            Some(0) => {
                let id = self.texts.id(view.symbols.strings.get(string));
                view.texts[string as usize] = id + 1;
                id
            }
            Some(known) => known - 1,
        }
    }

    /// Everything known of a frame.
    pub(crate) fn meta(&mut self, view: &mut SymbolView, location: u32, frame: Frame) -> FrameMeta {
        let (file, build_id) = view.mapping_strings(location);
        let function = view.function(frame);
        let frame_type = view.symbols.location_frame_type.get(location as usize).copied();
        FrameMeta {
            address: view.symbols.location_address.get(location as usize).copied(),
            mapping_file: Some(self.text(view, file)),
            build_id: Some(self.text(view, build_id)),
            name: Some(self.name(view, frame)),
            system_name: Some(function.map_or(0, |f| self.text(view, f.system_name))),
            filename: Some(function.map_or(0, |f| self.text(view, f.filename))),
            start_line: Some(function.map_or(0, |f| f.start_line)),
            line: Some(view.line(frame).map_or(0, |l| l.line)),
            inlined: Some(view.is_inlined(location, frame)),
            frame_type: Some(frame_type.map_or(0, |string| self.text(view, string))),
            unresolved: view.reason(location),
        }
    }

    /// What a key stands for.
    pub(crate) fn frame(&self, key: KeyId) -> &FrameKey {
        &self.keys[key as usize]
    }

    /// Number of keys met so far.
    pub(crate) fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// What a person calls a key.
    pub(crate) fn display(&self, key: KeyId) -> std::borrow::Cow<'_, str> {
        let key = self.frame(key);
        if key.name == 0 { format!("{:#x}", key.address).into() } else { self.texts.get(key.name).into() }
    }

    /// Orders keys by what they stand for, so that answers do not depend on the order of sources.
    pub(crate) fn compare(&self, a: KeyId, b: KeyId) -> Ordering {
        let (a, b) = (self.frame(a), self.frame(b));
        let text = |a: TextId, b: TextId| {
            if a == b { Ordering::Equal } else { self.texts.get(a).cmp(self.texts.get(b)) }
        };
        text(a.name, b.name)
            .then_with(|| text(a.object, b.object))
            .then_with(|| text(a.mapping_file, b.mapping_file))
            .then_with(|| text(a.filename, b.filename))
            .then_with(|| a.address.cmp(&b.address))
    }
}

/// The symbols of one source as the query sees them.
#[derive(Debug)]
pub(crate) struct SymbolView {
    pub(crate) symbols: Arc<Symbols>,
    /// Why locations have no function; empty if all have, or nobody was asked.
    reasons: Reasons,
    /// By string: number in the query + 1, or 0 if not asked yet.
    texts: Vec<u32>,
    /// By frame: key + 1, or 0 if not asked yet.
    keys: Vec<u32>,
    /// By function that alone makes a key: key + 1, or 0 if not asked yet.
    function_keys: Vec<u32>,
    /// By frame, if filters hide some.
    states: Option<Vec<FrameState>>,
    /// By location, if stacktraces are cut at a function.
    entries: Option<Vec<Entry>>,
}

/// What a filter says of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameState {
    Unknown,
    Shown,
    Hidden,
}

/// Where a location holds the function that stacktraces are cut at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Unknown,
    None,
    /// Its innermost and outermost frame there.
    Frames {
        inner: Frame,
        outer: Frame,
    },
}

impl SymbolView {
    pub(crate) fn new(symbols: Arc<Symbols>, reasons: Reasons) -> Self {
        let frames = symbols.lines.len() + symbols.location_count();
        let (strings, functions) = (symbols.strings.len(), symbols.functions.len());
        Self {
            symbols,
            reasons,
            function_keys: vec![0; functions],
            texts: vec![0; strings],
            keys: vec![0; frames],
            states: None,
            entries: None,
        }
    }

    /// Whether any location has no function.
    pub(crate) fn lacks_functions(&self) -> bool {
        !self.reasons.is_empty()
    }

    /// Why a location has no function; `None` if it has one, or nobody was asked.
    pub(crate) fn reason(&self, location: u32) -> Option<Unresolved> {
        self.reasons.get(location as usize).copied().flatten()
    }

    /// Makes room for [`Self::set_frame_state`].
    pub(crate) fn track_hidden(&mut self) {
        self.states.get_or_insert_with(|| vec![FrameState::Unknown; self.keys.len()]);
    }

    /// What filters say of a frame; shown if none is tracked.
    pub(crate) fn frame_state(&self, frame: Frame) -> FrameState {
        self.states.as_ref().map_or(FrameState::Shown, |states| states[frame as usize])
    }

    /// Shows or hides a frame, if tracked.
    pub(crate) fn set_frame_state(&mut self, frame: Frame, state: FrameState) {
        if let Some(states) = &mut self.states {
            states[frame as usize] = state;
        }
    }

    /// Makes room for [`Self::set_entry`].
    pub(crate) fn track_entries(&mut self) {
        self.entries.get_or_insert_with(|| vec![Entry::Unknown; self.symbols.location_count()]);
    }

    /// Where a location holds the function that stacktraces are cut at.
    pub(crate) fn entry(&self, location: u32) -> Entry {
        self.entries.as_ref().and_then(|e| e.get(location as usize)).copied().unwrap_or(Entry::None)
    }

    /// Remembers an entry, if tracked.
    pub(crate) fn set_entry(&mut self, location: u32, entry: Entry) {
        if let Some(known) = self.entries.as_mut().and_then(|e| e.get_mut(location as usize)) {
            *known = entry;
        }
    }

    /// The visible frame where a stacktrace that comes from the root enters a location right below it.
    pub(crate) fn first_from_root(&self, location: u32) -> Option<Frame> {
        match self.entry(location) {
            Entry::Frames { outer, .. } => self.inner(location, outer + 1),
            _ => None,
        }
        .or_else(|| self.outermost(location))
    }

    /// The visible frame where a stacktrace read from the leaf enters its first location.
    pub(crate) fn first_from_leaf(&self, location: u32) -> Option<Frame> {
        match self.entry(location) {
            Entry::Frames { inner, .. } => self.frames(location).find(|&frame| frame >= inner),
            _ => None,
        }
        .or_else(|| self.innermost(location))
    }

    /// Frames of a location, innermost first, hidden ones included.
    pub(crate) fn all_frames(&self, location: u32) -> std::ops::Range<Frame> {
        let l = location as usize;
        let (start, end) = match (self.symbols.first_line.get(l), self.symbols.first_line.get(l + 1)) {
            (Some(&start), Some(&end)) => (start, end),
            _ => (0, 0),
        };
        if start < end {
            return start..end;
        }
        let frame = self.symbols.lines.len() as u32 + location;
        frame..frame + 1
    }

    fn is_visible(&self, frame: Frame) -> bool {
        self.states.as_ref().is_none_or(|states| states[frame as usize] != FrameState::Hidden)
    }

    /// Visible frames of a location, innermost first.
    pub(crate) fn frames(&self, location: u32) -> impl DoubleEndedIterator<Item = Frame> + '_ {
        self.all_frames(location).filter(|&frame| self.is_visible(frame))
    }

    /// The visible frame of a location that is called first.
    pub(crate) fn outermost(&self, location: u32) -> Option<Frame> {
        self.frames(location).next_back()
    }

    /// The visible frame of a location that is called last.
    pub(crate) fn innermost(&self, location: u32) -> Option<Frame> {
        self.frames(location).next()
    }

    /// The visible frame that a frame calls within its location.
    pub(crate) fn inner(&self, location: u32, frame: Frame) -> Option<Frame> {
        let all = self.all_frames(location);
        (all.start..frame).rev().find(|&f| self.is_visible(f))
    }

    /// The visible frame that calls a frame within its location.
    pub(crate) fn outer(&self, location: u32, frame: Frame) -> Option<Frame> {
        let all = self.all_frames(location);
        (frame + 1..all.end).find(|&f| self.is_visible(f))
    }

    fn is_inlined(&self, location: u32, frame: Frame) -> bool {
        frame + 1 < self.all_frames(location).end
    }

    pub(crate) fn line(&self, frame: Frame) -> Option<&Line> {
        self.symbols.lines.get(frame as usize)
    }

    pub(crate) fn function(&self, frame: Frame) -> Option<decima_store::source::Function> {
        self.line(frame).and_then(|line| self.symbols.functions.get(line.function as usize)).copied()
    }

    /// String of the name to show for a frame; `None` if it is not symbolised.
    pub(crate) fn name_string(&self, frame: Frame) -> Option<u32> {
        self.function(frame).map(|f| if f.name == 0 { f.system_name } else { f.name })
    }

    /// Mapping of a location.
    pub(crate) fn mapping(&self, location: u32) -> Option<&decima_store::source::Mapping> {
        match self.symbols.location_mapping.get(location as usize) {
            Some(&mapping) if mapping != NO_MAPPING => self.symbols.mappings.get(mapping as usize),
            _ => None,
        }
    }

    /// String ids of file and build ID.
    pub(crate) fn mapping_strings(&self, location: u32) -> (u32, u32) {
        self.mapping(location).map_or((0, 0), |m| (m.file, m.build_id))
    }
}
