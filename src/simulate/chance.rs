//! Chance, from one seed. Owns a source for each kind of thing that happens by chance, so that what one
//! of them takes does not change what the others get: two laws meet the same readers.
//!
//! Invariant: times are whole microseconds, so that the last digit of a logarithm, which is not the same
//! on every machine, changes nothing.

use fastrand::Rng;

use super::time::Span;

/// The sources of chance.
#[derive(Debug)]
pub(super) struct Chance {
    /// When pages are asked for.
    pub(super) arrivals: Rng,
    /// By whom.
    pub(super) readers: Rng,
    /// How long a job takes.
    pub(super) work: Normal,
    /// How long an origin takes.
    pub(super) answers: Normal,
    /// What the guards draw.
    pub(super) guards: Rng,
}

impl Chance {
    /// All that follows from a seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut root = Rng::with_seed(seed);
        Self {
            arrivals: root.fork(),
            readers: root.fork(),
            work: Normal::new(root.fork()),
            answers: Normal::new(root.fork()),
            guards: root.fork(),
        }
    }
}

/// Normal deviates.
#[derive(Debug)]
pub(super) struct Normal {
    rng: Rng,
    spare: Option<f64>,
}

impl Normal {
    fn new(rng: Rng) -> Self {
        Self { rng, spare: None }
    }

    /// By Box and Muller, two at a time.
    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // of (0, 1], which has a logarithm
        let radius = (-2.0 * (1.0 - self.rng.f64()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * self.rng.f64()).sin_cos();
        self.spare = Some(radius * sin);
        radius * cos
    }

    /// A time of this distribution.
    pub(super) fn time(&mut self, spread: &Spread) -> Span {
        if spread.sigma == 0.0 {
            return Span::from_ms(spread.mean_ms);
        }
        Span::from_ms((spread.mu + spread.sigma * self.next()).exp())
    }
}

/// A lognormal distribution of times.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) mean_ms: f64,
    mu: f64,
    sigma: f64,
}

impl Spread {
    /// Of this mean in milliseconds, and this deviation over the mean.
    pub(super) fn new(mean_ms: f64, cv: f64) -> Self {
        let variance = (1.0 + cv * cv).ln();
        Self {
            mean_ms,
            mu: mean_ms.max(1e-6).ln() - variance / 2.0,
            sigma: variance.sqrt(),
        }
    }

    /// The same, so many times as long.
    pub(super) fn times(&self, factor: f64) -> Self {
        Self {
            mean_ms: self.mean_ms * factor,
            mu: self.mu + factor.ln(),
            sigma: self.sigma,
        }
    }
}

/// A time until the next of what happens by chance so often, on average.
pub(super) fn pause(rng: &mut Rng, mean_ms: f64) -> Span {
    Span::from_ms(-mean_ms * (1.0 - rng.f64()).ln())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_mean_and_the_deviation_that_were_asked_for() {
        for (mean, cv) in [(30.0, 0.6), (1.2, 0.3), (8.0, 1.2), (5.0, 0.0)] {
            let (mut chance, spread) = (Chance::new(7), Spread::new(mean, cv).times(2.0));
            let times: Vec<f64> = (0..100_000)
                .map(|_| chance.answers.time(&spread).ms())
                .collect();
            let found = times.iter().sum::<f64>() / times.len() as f64;
            let variance = times.iter().map(|t| (t - found).powi(2)).sum::<f64>();
            let deviation = (variance / times.len() as f64).sqrt();
            assert!((found / mean / 2.0 - 1.0).abs() < 0.02, "{mean}: {found}");
            assert!((deviation / found - cv).abs() < 0.05, "{cv}: {deviation}");
        }
    }

    #[test]
    fn one_kind_of_chance_does_not_disturb_another() {
        let (mut one, mut other) = (Chance::new(3), Chance::new(3));
        for _ in 0..100 {
            one.answers.time(&Spread::new(1.0, 1.0));
        }
        assert_eq!(one.arrivals.f64(), other.arrivals.f64());
        assert_ne!(Chance::new(4).arrivals.f64(), Chance::new(3).arrivals.f64());
    }
}
