//! A small generator of random numbers that a seed repeats: SplitMix64 (Steele, Lea, Flood: "Fast
//! Splittable Pseudorandom Number Generators", 2014). For made-up data only, never for secrets.

/// Random numbers. Those of one generator do not repeat within 2^64 of them.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator that `seed` stands for.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Any 64-bit number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number less than `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        let product = u128::from(self.number()) * end as u128;
        (product >> 64) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of the items.
    pub fn pick<T: Copy, const N: usize>(&mut self, items: &[T; N]) -> T {
        items[self.below(N)]
    }

    /// A version 4 UUID (RFC 9562 section 5.4).
    pub fn uuid(&mut self) -> String {
        let (high, low) = (self.number(), self.number());
        format!(
            "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xfff,
            0x8000 | ((low >> 48) & 0x3fff),
            low & 0xffff_ffff_ffff
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        let mut random = Random::new(1_234_567);
        let numbers: Vec<_> = std::iter::repeat_with(|| random.number()).take(3).collect();
        assert_eq!(
            numbers,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }

    #[test]
    fn every_item_is_picked_and_no_other() {
        let mut random = Random::new(7);
        let mut seen = [0; 3];
        (0..300).for_each(|_| seen[random.pick(&[0, 1, 2])] += 1);
        assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
        assert!((0..100).all(|_| !random.chance(0) && random.chance(100)));
    }

    #[test]
    fn a_uuid_is_of_version_4() {
        let uuid = Random::new(1).uuid();
        let parts: Vec<_> = uuid.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12], "{uuid}");
        assert_eq!(&uuid[14..15], "4");
        assert!(["8", "9", "a", "b"].contains(&&uuid[19..20]), "{uuid}");
    }
}
