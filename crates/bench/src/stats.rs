//! Statistics of a few runs: the median, and how far runs lie from it.

use serde::Serialize;

/// The results of several runs, in the unit of the field that holds this.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; for an even number of runs, the mean of the two in the middle.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// Median of the distances from the median: half of the runs lie nearer.
    pub mad: f64,
    /// How many there were.
    pub runs: usize,
}

impl Spread {
    /// `None` without values, or when one is not a number.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let median = median(values)?;
        let distances: Vec<f64> = values.iter().map(|value| (value - median).abs()).collect();
        Some(Self {
            median,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            mad: self::median(&distances)?,
            runs: values.len(),
        })
    }

    /// Distance between the extremes, as a share of the median.
    pub(crate) fn width(&self) -> f64 {
        if self.median > 0.0 {
            (self.max - self.min) / self.median
        } else {
            0.0
        }
    }
}

fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(lower.midpoint(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order_and_the_outliers() {
        let spread = Spread::of(&[5.0, 1.0, 1000.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 5.0,
                min: 1.0,
                max: 1000.0,
                mad: 4.0,
                runs: 3
            }
        );
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
    }

    #[test]
    fn one_run_has_no_spread() {
        let spread = Spread::of(&[7.5]).unwrap();
        assert_eq!((spread.median, spread.mad, spread.width()), (7.5, 0.0, 0.0));
    }

    #[test]
    fn no_values_and_what_is_not_a_number_have_no_median() {
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
        assert_eq!(Spread::of(&[f64::INFINITY]), None);
    }

    #[test]
    fn the_width_is_a_share_of_the_median() {
        assert_eq!(Spread::of(&[8.0, 10.0, 13.0]).unwrap().width(), 0.5);
        assert_eq!(Spread::of(&[0.0, 0.0]).unwrap().width(), 0.0);
    }
}
