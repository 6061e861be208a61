//! When a message is tried again.

/// After the first failure, in seconds.
const FIRST: i64 = 10;
/// Never longer, in seconds.
const LONGEST: i64 = 6 * 3600;

/// How long to wait after `failures` attempts that failed, in seconds: twice as long each time, and a random part of that, so that what failed together
/// is not tried together.
pub(super) fn wait(failures: u32, random: u64) -> i64 {
    let doubled = 2_i64.checked_pow(failures.saturating_sub(1)).and_then(|factor| FIRST.checked_mul(factor));
    let most = doubled.unwrap_or(LONGEST).min(LONGEST);
    let half = most / 2;
    let room = u64::try_from(most - half).unwrap_or(0) + 1;
    half + i64::try_from(random % room).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_twice_as_long_up_to_an_end_and_never_all_at_once() {
        let most = |failures| (0..100_000).map(|random| wait(failures, random)).max().unwrap();
        let least = |failures| (0..100_000).map(|random| wait(failures, random)).min().unwrap();
        assert_eq!([1, 2, 3, 4].map(most), [10, 20, 40, 80]);
        assert_eq!([1, 2, 3, 4].map(least), [5, 10, 20, 40]);
        for failures in [13, 14, 40, 63, 64, u32::MAX] {
            assert_eq!((least(failures), most(failures)), (LONGEST / 2, LONGEST), "{failures}");
        }
        assert_eq!(wait(0, 0), FIRST / 2);
        assert!((5..=10).contains(&wait(1, u64::MAX)));
    }
}
