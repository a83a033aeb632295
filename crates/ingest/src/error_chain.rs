//! An error for people.

use std::{error::Error, fmt::Write as _};

/// An error with its causes, in one line. A cause that the text before it ends with is not repeated: libraries differ in
/// whether an error's own text has its cause.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.ends_with(&told) {
            let _ = write!(text, ": {told}");
        }
        cause = error.source();
    }
    text
}
