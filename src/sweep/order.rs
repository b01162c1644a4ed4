//! In which order a sweep's repetitions run: in rounds of one repetition of every window, each round
//! shuffled, so that what changes slowly on a machine meets all windows alike.

use fastrand::Rng;

/// Draws apart from those of the windows, which start from the same seed.
const STREAM: u64 = 0x5eed_0f5e_e9ed_0001;

/// `repeat` rounds, each with every one of `windows` numbers once.
pub fn rounds(windows: usize, repeat: u32, seed: u64) -> Vec<Vec<usize>> {
    let mut random = Rng::with_seed(seed ^ STREAM);
    let mut round = || {
        let mut numbers: Vec<usize> = (0..windows).collect();
        random.shuffle(&mut numbers);
        numbers
    };
    (0..repeat).map(|_| round()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_window_in_an_order_that_the_seed_draws() {
        let drawn = rounds(5, 8, 7);
        assert_eq!(drawn.len(), 8);
        for round in &drawn {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3, 4], "{round:?}");
        }
        assert!(drawn.iter().any(|round| Some(round) != drawn.first()), "all alike: {drawn:?}");
        assert_eq!(drawn, rounds(5, 8, 7));
        assert_ne!(drawn, rounds(5, 8, 8));
    }
}
