//! Questions and answers of the engine, free of any wire format.

use crate::unresolved::UnresolvedAddresses;
use decima_base::ErrorKind;
pub use decima_store::source::TimeRange;

/// A question that was not answered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The question is wrong; the message says how.
    #[error("{message}")]
    InvalidArgument {
        /// For the caller, naming the field.
        message: String,
    },
    /// There is nothing to answer with.
    #[error("{message}")]
    NotFound {
        /// For the caller.
        message: String,
    },
    /// The answer would be larger than its limit.
    #[error("{message}")]
    ResourceExhausted {
        /// For the caller, naming the limit.
        message: String,
    },
    /// The deadline passed.
    #[error("the query took longer than its deadline")]
    DeadlineExceeded,
    /// The kind of report is known but not offered.
    #[error("{message}")]
    Unimplemented {
        /// For the caller.
        message: String,
    },
    /// Stored data could not be read.
    #[error(transparent)]
    Read(#[from] decima_store::ReadError),
    /// A fault of our own.
    #[error("{message}")]
    Internal {
        /// For the log.
        message: String,
    },
}

impl QueryError {
    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidArgument { .. } => ErrorKind::InvalidArgument,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::ResourceExhausted { .. } => ErrorKind::ResourceExhausted,
            Self::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            Self::Unimplemented { .. } => ErrorKind::Unimplemented,
            Self::Read(e) => e.kind(),
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }
}

/// Which names or values are asked for.
#[derive(Debug, Clone, Default)]
pub struct LabelsRequest {
    /// Only series of this profile type (text form); `None` = all.
    pub profile_type: Option<String>,
    /// Selectors (`{a="b"}` with or without a profile type); a series must match one of them if there are any.
    pub matchers: Vec<String>,
    /// Only series with samples in this range; `None` = all.
    pub range: Option<TimeRange>,
}

/// A question for values over time.
#[derive(Debug, Clone)]
pub struct QueryRangeRequest {
    /// Selector with a profile type.
    pub query: String,
    /// Inclusive.
    pub range: TimeRange,
    /// Width of a bucket; 0 = derive it from `limit` (range / limit, at least 1 s), or one bucket if that is 0 too.
    pub step_ns: i64,
    /// Points wanted at most, 0 = unlimited.
    pub limit: u32,
    /// Labels whose values keep series apart (delta types only).
    pub sum_by: Vec<String>,
}

/// One point of a range answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RangeSample {
    /// Unix time.
    pub time_ns: i64,
    /// Sum of the bucket.
    pub value: i64,
    /// Rate: cores for CPU nanoseconds, units per second otherwise; the value itself for types that are not delta.
    pub value_per_second: f64,
    /// What time the value covers.
    pub duration_ns: i64,
    /// Number of stored samples in it.
    pub count: u64,
}

/// One series of a range answer.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeSeries {
    /// Labels that tell it from the others, sorted, none empty.
    pub labels: Vec<(String, String)>,
    /// (type, unit).
    pub period_type: (String, String),
    /// (type, unit), after conversion of counts by the period.
    pub sample_type: (String, String),
    /// Sorted by time.
    pub samples: Vec<RangeSample>,
}

/// Values over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RangeAnswer {
    /// By labels.
    pub series: Vec<RangeSeries>,
    /// Things the reader must know (a saturated sum, a missing block).
    pub notices: Vec<String>,
}

/// Which samples make the report.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Samples at one time (millisecond).
    Single {
        /// Selector.
        query: String,
        /// Unix time; samples of the same millisecond count.
        time_ns: i64,
    },
    /// The sum over a range.
    Merge {
        /// Selector.
        query: String,
        /// Inclusive.
        range: TimeRange,
    },
    /// B compared with A. Neither side may be a diff.
    Diff {
        /// Base.
        a: Box<Selection>,
        /// Compared with it.
        b: Box<Selection>,
        /// Compare values as they are, rather than scaled to the larger total.
        absolute: bool,
    },
}

/// Kinds of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportType {
    /// Flame graph as an Arrow record.
    FlamegraphArrow,
    /// Flame graph over time.
    Flamechart,
    /// Table of functions as an Arrow record.
    TableArrow,
    /// Functions by flat value.
    Top,
    /// Gzip pprof.
    Pprof,
    /// Functions and calls.
    Callgraph,
    /// Mapping files and label names.
    ProfileMetadata,
    /// Source lines.
    Source,
}

/// One condition on a text or a number of a frame.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// Equal text.
    Equal(String),
    /// Another text.
    NotEqual(String),
    /// Contains the text.
    Contains(String),
    /// Does not.
    NotContains(String),
    /// Begins with the text.
    StartsWith(String),
    /// Does not.
    NotStartsWith(String),
    /// Equal number.
    NumberEqual(u64),
    /// Another number.
    NumberNotEqual(u64),
}

/// Conditions on one frame, all of which must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FrameCriteria {
    /// On the function name.
    pub function_name: Option<Condition>,
    /// On the base name of the mapping's file.
    pub binary: Option<Condition>,
    /// On the system name.
    pub system_name: Option<Condition>,
    /// On the source file.
    pub filename: Option<Condition>,
    /// On the address.
    pub address: Option<Condition>,
    /// On the line.
    pub line_number: Option<Condition>,
}

/// A predicate on stacktraces, or on frames.
#[derive(Debug, Clone, PartialEq)]
pub enum Filter {
    /// Keeps or drops whole stacktraces.
    Stack(FrameCriteria),
    /// Keeps or drops frames, values stay.
    Frame(FrameCriteria),
}

/// A question for a report.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// Which samples.
    pub selection: Selection,
    /// Which report.
    pub report: ReportType,
    /// Leaves out nodes below this share of the total, in percent.
    pub node_trim_threshold: f32,
    /// Nodes of a flame graph at most; 0 = the engine's default.
    pub node_max: usize,
    /// Fields that keep nodes apart (`function_name`, `labels.x`, `mapping_file`, `location_address`, `function_file_name`, `timestamp`).
    pub group_by: Vec<String>,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// Leaves at the root.
    pub invert_call_stack: bool,
    /// Cut stacktraces at this function.
    pub sandwich_by_function: Option<String>,
    /// Names of frames from the root; only the subtree below them is expanded, and thresholds are relative to it.
    /// Unsymbolised frames are named `0x` and their address in hex, rows of a label set `name="value", …`.
    pub focus: Vec<String>,
    /// Whether the buffers of Arrow records are LZ4-compressed: `true` is what Parca's clients get, `false` what a page
    /// without an LZ4 decoder needs (its transport compresses).
    pub ipc_compression: bool,
    /// Whether flame graphs and tables have a column `unresolved` more than Parca's: a sentence for each frame that has no
    /// function, why.
    pub unresolved_column: bool,
    /// Whether they have a column `frame_type` more than Parca's: what runs each frame, in its sender's words; null where that is
    /// not known, or where several make one row and differ.
    pub frame_type_column: bool,
}

impl ReportRequest {
    /// Asks for a report of everything in a selection: no trimming threshold, filter or grouping, the default node
    /// budget, compressed Arrow buffers.
    pub fn new(selection: Selection, report: ReportType) -> Self {
        Self {
            selection,
            report,
            node_trim_threshold: 0.0,
            node_max: 0,
            group_by: Vec::new(),
            filters: Vec::new(),
            invert_call_stack: false,
            sandwich_by_function: None,
            focus: Vec::new(),
            ipc_compression: true,
            unresolved_column: false,
            frame_type_column: false,
        }
    }
}

/// A report with its totals.
#[derive(Debug, Clone)]
pub struct ReportAnswer {
    /// The report.
    pub report: Report,
    /// Value of everything in the report.
    pub total: i64,
    /// Value removed by filters.
    pub filtered: i64,
    /// Addresses that have no function among what was read, the most frequent first.
    pub unresolved: Vec<UnresolvedAddresses>,
    /// Things the reader must know (a saturated sum, a missing block).
    pub notices: Vec<String>,
}

/// An Arrow IPC stream with one record batch.
#[derive(Debug, Clone)]
pub struct ArrowRecord {
    /// The stream.
    pub record: Vec<u8>,
    /// Unit of the values.
    pub unit: String,
    /// Depth of the deepest node + 1 (flame graphs).
    pub height: i32,
    /// Value that was left out by trimming (top-most cut nodes).
    pub trimmed: i64,
}

/// The reports.
#[derive(Debug, Clone)]
pub enum Report {
    /// Flame graph.
    FlamegraphArrow(ArrowRecord),
    /// Table.
    TableArrow(ArrowRecord),
    /// Functions by flat value.
    Top(Top),
    /// Gzip pprof.
    Pprof(Vec<u8>),
    /// Functions and calls.
    Callgraph(Callgraph),
    /// Mapping files and label names.
    ProfileMetadata {
        /// Distinct files, sorted.
        mapping_files: Vec<String>,
        /// Distinct label names, sorted.
        labels: Vec<String>,
    },
}

/// What a node of a report stands for. Empty and 0 where unknown or mixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeMeta {
    /// Address.
    pub address: u64,
    /// Mapping file.
    pub mapping_file: String,
    /// Build ID.
    pub build_id: String,
    /// Name.
    pub function_name: String,
    /// System name.
    pub system_name: String,
    /// Source file.
    pub filename: String,
    /// First line of the function.
    pub start_line: i64,
    /// Line.
    pub line: i64,
}

impl NodeMeta {
    /// Length of all its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        let Self { mapping_file, build_id, function_name, system_name, filename, .. } = self;
        [mapping_file, build_id, function_name, system_name, filename].into_iter().map(String::len).sum()
    }
}

/// One function of a [`Top`].
#[derive(Debug, Clone)]
pub struct TopNode {
    /// The function.
    pub meta: NodeMeta,
    /// Value of it and all it calls, each sample once.
    pub cumulative: i64,
    /// Value of itself.
    pub flat: i64,
    /// B − A of `cumulative`, 0 without diff.
    pub diff: i64,
}

/// Functions sorted by flat value, largest first. Complete.
#[derive(Debug, Clone, Default)]
pub struct Top {
    /// The functions.
    pub nodes: Vec<TopNode>,
    /// Unit of the values.
    pub unit: String,
}

/// An edge of a [`Callgraph`].
#[derive(Debug, Clone)]
pub struct CallEdge {
    /// Index of the caller.
    pub source: usize,
    /// Index of the callee.
    pub target: usize,
    /// Value that went over it.
    pub cumulative: i64,
    /// Whether functions between the two were left out.
    pub collapsed: bool,
}

/// Functions and the calls between them.
#[derive(Debug, Clone, Default)]
pub struct Callgraph {
    /// The functions; node 0 is the root.
    pub nodes: Vec<TopNode>,
    /// The calls.
    pub edges: Vec<CallEdge>,
    /// Value of the root.
    pub cumulative: i64,
}
