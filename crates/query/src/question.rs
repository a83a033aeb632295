//! The texts of a report request, read.

use decima_profile::ProfileType;

use crate::{
    api::{QueryError, ReportRequest, ReportType, Selection, TimeRange},
    fields::GroupFields,
    filter::{Direction, Filters},
    group::Grouping,
    plan::Wanted,
    read,
    selector::{Matcher, Selector},
};

/// One side of a question.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) profile_type: ProfileType,
    matchers: Vec<Matcher>,
    pub(crate) range: TimeRange,
    /// Counts of samples become values of the period type.
    scale_by_period: bool,
    /// Asks for one profile rather than a sum.
    pub(crate) single: bool,
}

/// A report request after its texts have been read.
#[derive(Debug)]
pub(crate) struct Question {
    /// What is compared, or the only side.
    pub(crate) compared: Side,
    /// What it is compared with.
    pub(crate) base: Option<Side>,
    /// Compare values as they are.
    pub(crate) absolute: bool,
    pub(crate) fields: GroupFields,
    pub(crate) filters: Filters,
    /// Which way stacktraces are read.
    pub(crate) direction: Direction,
}

impl Question {
    /// Reads a request; refuses what cannot be answered.
    pub(crate) fn read(request: &ReportRequest) -> Result<Self, QueryError> {
        if let ReportType::Flamechart | ReportType::Source = request.report {
            let name = if request.report == ReportType::Source { "SOURCE" } else { "FLAMECHART" };
            return Err(QueryError::Unimplemented {
                message: format!("reports of type {name} are not offered yet"),
            });
        }
        let (compared, base, absolute) = match &request.selection {
            Selection::Diff { a, b, absolute } => (read_side(b)?, Some(read_side(a)?), *absolute),
            one => (read_side(one)?, None, true),
        };
        let fields = GroupFields::parse(&request.group_by)?;
        let groups = matches!(request.report, ReportType::FlamegraphArrow | ReportType::Pprof);
        let inverts = request.invert_call_stack && request.report == ReportType::FlamegraphArrow;
        Ok(Self {
            compared,
            base,
            absolute,
            // The other reports are about functions alone.
            fields: if groups { fields } else { GroupFields::default() },
            filters: Filters::parse(&request.filters, request.sandwich_by_function.as_deref())?,
            direction: if inverts { Direction::Up } else { Direction::Down },
        })
    }

    /// The sides by number ([`COMPARED`](crate::branch::COMPARED) first).
    pub(crate) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.compared).chain(&self.base)
    }

    /// What to read for a side.
    pub(crate) fn wanted<'a>(&'a self, side: &'a Side) -> Wanted<'a> {
        Wanted {
            profile_type: &side.profile_type,
            matchers: &side.matchers,
            range: side.range,
            grouping: Grouping::Labels(&self.fields.labels),
            scale_by_period: side.scale_by_period,
        }
    }
}

impl Side {
    /// (type, unit) of the values.
    pub(crate) fn value_type(&self) -> (&str, &str) {
        let ProfileType { sample_type, sample_unit, period_type, period_unit, .. } = &self.profile_type;
        if self.scale_by_period { (period_type, period_unit) } else { (sample_type, sample_unit) }
    }
}

fn read_side(selection: &Selection) -> Result<Side, QueryError> {
    let (query, range, single) = match selection {
        Selection::Single { query, time_ns } => {
            let start_ns = time_ns.saturating_sub(time_ns.rem_euclid(1_000_000));
            (query, TimeRange { start_ns, end_ns: start_ns.saturating_add(999_999) }, true)
        }
        Selection::Merge { query, range } => (query, *range, false),
        Selection::Diff { .. } => {
            return Err(QueryError::InvalidArgument {
                message: "a side of a diff cannot be a diff".to_owned(),
            });
        }
    };
    if range.start_ns > range.end_ns {
        return Err(QueryError::InvalidArgument { message: "start must not be after end".to_owned() });
    }
    let (profile_type, matchers) = Selector::parse_typed(query)?;
    let scale_by_period = !single && read::counts_samples(&profile_type);
    Ok(Side { profile_type, matchers, range, scale_by_period, single })
}
