//! Clinical content that can be carried and never printed by accident.

use std::fmt;

/// Prints as `[phi]`, whatever it holds.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Phi<T>(pub T);

impl<T> fmt::Debug for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[phi]")
    }
}

impl<T> fmt::Display for Phi<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[phi]")
    }
}

#[cfg(test)]
mod tests {
    use super::Phi;

    #[test]
    fn what_it_holds_is_not_printed() {
        let name = Phi("DOE^JANE");
        assert_eq!(
            format!("{name} {name:?} {:?}", Some(name)),
            "[phi] [phi] Some([phi])"
        );
    }
}
