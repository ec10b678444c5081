//! Many measurements of one thing, and their summary.

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
}
