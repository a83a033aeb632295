//! Seeded randomness that stays the same for ever: the load's totals are compared between releases.

use xxhash_rust::xxh3::xxh3_64;

/// A stream of random numbers (SplitMix64), one per thing that is generated, so that the order in which things are
/// generated does not matter.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of the thing with these coordinates.
    pub fn of(coordinates: &[u64]) -> Self {
        let bytes: Vec<u8> = coordinates.iter().flat_map(|part| part.to_le_bytes()).collect();
        Self { state: xxh3_64(&bytes) }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform between 0 and 1, both excluded.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Uniform below `bound`, which must not be 0.
    pub fn below(&mut self, bound: usize) -> usize {
        // The bias is below 2⁻⁴⁰ for the bounds of a load.
        (self.bits() % bound as u64) as usize
    }

    /// Below `bound`, smaller numbers more often: the more so, the larger `exponent`.
    pub fn low(&mut self, bound: usize, exponent: f64) -> usize {
        ((bound as f64 * self.unit().powf(exponent)) as usize).min(bound - 1)
    }

    /// Exponentially distributed with mean 1.
    pub fn exponential(&mut self) -> f64 {
        -self.unit().ln()
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_never_changes() {
        let mut random = Random::of(&[1, 2, 3]);
        assert_eq!([random.bits(), random.bits()], [1_463_671_987_437_065_030, 8_292_344_146_263_959_153]);
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::of(&[7]);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            assert!(random.low(5, 2.5) < 5);
            let unit = random.unit();
            assert!(0.0 < unit && unit < 1.0);
            assert!(random.exponential() > 0.0);
        }
    }
}
