use decima_proto::parca::query::v1alpha1::query_request::Options;

use super::*;

fn seconds(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn merge_request() -> proto::QueryRequest {
    proto::QueryRequest {
        mode: Mode::Merge as i32,
        report_type: ProtoReportType::Top as i32,
        options: Some(Options::Merge(proto::MergeProfile {
            query: "q".to_owned(),
            start: seconds(1),
            end: seconds(2),
        })),
        ..proto::QueryRequest::default()
    }
}

#[track_caller]
fn check_report(
    change: impl FnOnce(&mut proto::QueryRequest),
    expected: Result<(), &str>,
) -> Option<ReportRequest> {
    let mut request = merge_request();
    change(&mut request);
    match (report(request, Extras::default(), RecordBuffers::Compressed), expected) {
        (Ok(report), Ok(())) => Some(report),
        (Err(status), Err(text)) => {
            assert!(status.message().contains(text), "{text:?} is not in {:?}", status.message());
            None
        }
        (Ok(_), Err(text)) => panic!("should fail with {text:?}"),
        (Err(status), Ok(())) => panic!("failed: {status:?}"),
    }
}

#[test]
fn reports_name_what_is_wrong() {
    check_report(|_| {}, Ok(()));
    check_report(|r| r.report_type = 77, Err("invalid report type: 77"));
    check_report(
        |r| r.report_type = 0,
        Err("invalid report type: REPORT_TYPE_FLAMEGRAPH_UNSPECIFIED is not offered"),
    );
    check_report(|r| r.mode = 9, Err("mode: 9"));
    check_report(|r| r.mode = Mode::Diff as i32, Err("needs the options in `diff`"));
    check_report(|r| r.options = None, Err("needs the options in `merge`"));
    check_report(|r| r.node_trim_threshold = Some(f32::NAN), Err("node_trim_threshold"));
    check_report(|r| r.node_trim_threshold = Some(101.0), Err("node_trim_threshold"));
    check_report(|r| r.options = Some(merge_options("", 1, 2)), Err("merge.query: missing"));
    check_report(|r| r.options = Some(merge_options("q", 2, 1)), Err("start: must not be after end"));
    check_report(|r| r.filter = vec![proto::Filter::default(); 257], Err("filter: 257 is more than 256"));
    check_report(
        |r| {
            r.options =
                Some(Options::Merge(proto::MergeProfile { query: "q".to_owned(), start: None, end: None }));
        },
        Err("merge.start: missing"),
    );
}

#[test]
fn both_sides_of_a_diff_are_needed() {
    let side = |mode, options| proto::ProfileDiffSelection { mode, options };
    let merge_side = || {
        side(
            1,
            Some(proto::profile_diff_selection::Options::Merge(proto::MergeProfile {
                query: "q".to_owned(),
                start: seconds(1),
                end: seconds(2),
            })),
        )
    };
    let diff = |a, b| {
        move |r: &mut proto::QueryRequest| {
            r.mode = Mode::Diff as i32;
            r.options = Some(Options::Diff(proto::DiffProfile { a, b, absolute: None }));
        }
    };
    check_report(diff(Some(merge_side()), None), Err("diff: needs both a and b"));
    check_report(
        diff(Some(merge_side()), Some(side(0, None))),
        Err("diff.b: the options must be those of its mode"),
    );
    let report = check_report(diff(Some(merge_side()), Some(merge_side())), Ok(())).unwrap();
    assert!(matches!(report.selection, Selection::Diff { absolute: false, .. }));
}

#[test]
fn older_filters_become_conditions() {
    let report = check_report(
        |r| {
            r.filter_query = Some("old".to_owned());
            r.filter = vec![
                proto::Filter {
                    filter: Some(proto::filter::Filter::StackFilter(proto::StackFilter {
                        filter: Some(proto::stack_filter::Filter::FunctionNameStackFilter(
                            proto::FunctionNameStackFilter {
                                function_to_filter: "gc".to_owned(),
                                exclude: true,
                            },
                        )),
                    })),
                },
                proto::Filter {
                    filter: Some(proto::filter::Filter::FrameFilter(proto::FrameFilter {
                        filter: Some(proto::frame_filter::Filter::BinaryFrameFilter(
                            proto::BinaryFrameFilter {
                                include_binaries: vec!["libc".to_owned(), "ld".to_owned()],
                            },
                        )),
                    })),
                },
            ];
        },
        Ok(()),
    );
    let binary = |name: &str| {
        Filter::Frame(FrameCriteria {
            binary: Some(Condition::Contains(name.to_owned())),
            ..FrameCriteria::default()
        })
    };
    assert_eq!(
        report.unwrap().filters,
        [
            function_filter(Condition::Contains("old".to_owned())),
            function_filter(Condition::NotContains("gc".to_owned())),
            binary("libc"),
            binary("ld"),
        ]
    );
}

#[test]
fn open_ranges() {
    let check = |start, end, expected: Option<(i64, i64)>| {
        let range = range(start, end).unwrap().map(|range| (range.start_ns, range.end_ns));
        assert_eq!(range, expected);
    };
    check(None, None, None);
    check(seconds(0), seconds(0), None);
    check(seconds(1), None, Some((1_000_000_000, i64::MAX)));
    check(seconds(0), seconds(2), Some((i64::MIN, 2_000_000_000)));
    assert!(range(seconds(2), seconds(1)).is_err());
}

fn merge_options(query: &str, start: i64, end: i64) -> Options {
    Options::Merge(proto::MergeProfile { query: query.to_owned(), start: seconds(start), end: seconds(end) })
}
