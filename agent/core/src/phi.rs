//! Clinical content that can be carried and never printed by accident.

use std::fmt;

/// Prints as `[phi]`, whatever it holds.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Phi<T>(pub T);

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[phi]")
    }
}
