//! Two sides in turn, and the ratios of each pair.

use serde::Serialize;

/// Runs both sides so many times, one after the other, the first one
/// alternating: neither always finds the machine as the same other left it.
pub fn interleave<T, E>(
    pairs: u16,
    mut ours: impl FnMut() -> Result<T, E>,
    mut reference: impl FnMut() -> Result<T, E>,
) -> Result<Vec<(T, T)>, E> {
    let pair = |number: u16| {
        if number.is_multiple_of(2) {
            let own = ours()?;
            Ok((own, reference()?))
        } else {
            let other = reference()?;
            Ok((ours()?, other))
        }
    };
    (0..pairs).map(pair).collect()
}

/// The middle of some figures, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// As many are above as below.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        assert!(!sorted.is_empty(), "nothing was measured");
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        Self {
            median: (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
            min: sorted[0],
            max: sorted[count - 1],
        }
    }

    /// Of the ratios of pairs, ours above, by one figure of each side.
    pub fn of_ratios<T>(pairs: &[(T, T)], figure: impl Fn(&T) -> f64) -> Self {
        Self::of(pairs.iter().map(|(own, other)| figure(own) / figure(other)))
    }

    /// Of one figure.
    pub fn single(figure: f64) -> Self {
        Self::of([figure])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::single(7.0).median, 7.0);
    }

    /// The ratio of the medians would be 1.
    #[test]
    fn ratios_are_taken_pair_by_pair() {
        let pairs = [(1.0, 2.0), (2.0, 4.0), (4.0, 1.0)];
        let spread = Spread::of_ratios(&pairs, |figure| *figure);
        assert_eq!((spread.median, spread.min, spread.max), (0.5, 0.5, 4.0));
    }

    #[test]
    fn the_first_side_alternates() {
        let order = RefCell::new(String::new());
        let run = |name: char| {
            order.borrow_mut().push(name);
            Ok::<_, ()>(name)
        };
        let pairs = interleave(3, || run('o'), || run('r'));
        assert_eq!(pairs, Ok(vec![('o', 'r'); 3]));
        assert_eq!(order.into_inner(), "orroor");
    }

    #[test]
    fn an_error_ends_it() {
        let mut runs = 0;
        let ours = || {
            runs += 1;
            if runs == 2 { Err("full") } else { Ok(()) }
        };
        assert_eq!(interleave(7, ours, || Ok(())), Err("full"));
        assert_eq!(runs, 2);
    }
}
