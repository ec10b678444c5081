//! Many measurements of one thing, their summary, and when there are enough of them.

/// Measurements are steady if their middle half is at most this part of the median.
const STEADY: f64 = 0.05;
/// How many times the rounds that were asked for a bench runs at most to become steady.
const PATIENCE: usize = 3;

/// Measurements of the same thing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The quartiles: the middle half of the measurements lies between them.
    pub(crate) fn middle_half(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    /// All of them, in their order.
    pub(crate) fn all(&self) -> &[f64] {
        &self.0
    }

    /// Whether the middle half is narrow: 5 % of the median, or no more than `unit`, the last digit that is shown.
    pub(crate) fn is_steady(&self, unit: f64) -> bool {
        let (low, high) = self.middle_half();
        high - low <= (STEADY * self.median().abs()).max(unit)
    }

    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
        let at = part * last as f64;
        let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        below + (above - below) * at.fract()
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// Whether a bench that has run `done` rounds, and was asked for `rounds`, goes on: until the `samples` that its table is
/// about are steady, or it has run three times as many.
pub(crate) fn goes_on<'a>(done: usize, rounds: usize, mut samples: impl Iterator<Item = &'a Samples>) -> bool {
    done < rounds || (done < PATIENCE * rounds && !samples.all(|samples| samples.is_steady(0.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_middle_half_lie_between_the_samples() {
        let samples = Samples::from_iter([5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((samples.median(), samples.middle_half()), (3.0, (2.0, 4.0)));
        let even = Samples::from_iter([1.0, 2.0]);
        assert_eq!((even.median(), even.middle_half()), (1.5, (1.25, 1.75)));
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn what_is_not_steady_is_measured_again_for_a_while() {
        let steady = Samples::from_iter([100.0, 101.0, 102.0, 103.0]);
        let wide = Samples::from_iter([0.0, 0.0, 0.1, 0.1]);
        assert!(steady.is_steady(0.0) && wide.is_steady(0.1) && !wide.is_steady(0.0));
        let check = |done, expected: [bool; 2]| {
            let found = [&steady, &wide].map(|samples| goes_on(done, 3, std::iter::once(samples)));
            assert_eq!(found, expected, "{done}");
        };
        check(2, [true, true]);
        check(3, [false, true]);
        check(8, [false, true]);
        check(9, [false, false]);
    }
}
