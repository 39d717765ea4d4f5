//! From the units of version 1, in which the spec speaks, to those of version 2. Pure arithmetic.

use std::ops::RangeInclusive;

/// What the kernel makes of cpu.shares, silently (MIN_SHARES and MAX_SHARES of kernel/sched/sched.h).
pub const SHARES: RangeInclusive<u64> = 2..=262_144;

/// cpu.shares as cpu.weight: the quadratic curve through 2 → 1, 1024 → 100 (the default of both) and 262144 → 10000,
/// `10^((l² + 125l) / 612 − 7 / 34)` with `l = log2(shares)`, rounded up. Values beyond the kernel's range count as its
/// ends.
pub fn cpu_weight(shares: u64) -> u64 {
    let l = (shares.clamp(*SHARES.start(), *SHARES.end()) as f64).log2();
    // One fraction, so that whole powers of two have no rounding in it: 7 / 34 is 126 / 612.
    let weight = 10f64.powf((l * (l + 125.0) - 126.0) / 612.0).ceil();
    (weight as u64).clamp(1, 10_000)
}

/// blkio.weight (10 to 1000) as io.weight (1 to 10000), on a straight line.
pub fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9_999 / 990
}

/// How version 2 writes a limit that may be missing.
pub fn or_max(limit: Option<u64>) -> String {
    limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ends_and_the_defaults_of_both_versions_meet() {
        for (shares, weight) in [(0, 1), (1, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
            assert_eq!(cpu_weight(shares), weight, "{shares}");
        }
        for (weight, io) in [(10, 1), (500, 4950), (1000, 10_000)] {
            assert_eq!(io_weight(weight), io, "{weight}");
        }
    }

    proptest! {
        #[test]
        fn more_shares_are_never_less_weight(shares in 0u64..300_000, more in 0u64..300_000) {
            let (less, more) = (cpu_weight(shares), cpu_weight(shares + more));
            prop_assert!(less <= more && (1..=10_000).contains(&less) && (1..=10_000).contains(&more));
        }

        /// The curve itself, computed as it is published; rounding up may differ by one where it meets a whole number.
        #[test]
        fn the_weight_is_the_curves_rounded_up(shares in 2u64..=262_144) {
            let l = (shares as f64).log2();
            let exact = 10f64.powf((l * l + 125.0 * l) / 612.0 - 7.0 / 34.0);
            let weight = cpu_weight(shares) as f64;
            prop_assert!(weight > exact - 1e-6 && weight < exact + 1.0 + 1e-6, "{} for {}", weight, exact);
        }

        #[test]
        fn io_weights_keep_their_order_and_their_range(weight in 10u16..1000) {
            prop_assert!(io_weight(weight) < io_weight(weight + 1) && io_weight(weight + 1) <= 10_000);
        }
    }
}
