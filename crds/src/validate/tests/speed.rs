//! Work grows with the configuration, not with its square.

use std::time::Duration;

use super::*;

fn many(count: u32) -> Vec<Object> {
    let address = |n: u32| format!("10.{}.{}.0/24", n / 256, n % 256);
    (0..count)
        .map(|n| pool(&format!("pool-{n}"), &[&address(n)]))
        .collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures time")]
fn twenty_times_the_pools_do_not_take_four_hundred_times_as_long() {
    let time = |count| {
        let objects = many(count);
        let measure = || {
            let start = std::time::Instant::now();
            let verdict = judge(&objects);
            assert_eq!(verdict.config.pools.len(), objects.len());
            start.elapsed()
        };
        (0..3).map(|_| measure()).min().unwrap()
    };
    let (small, large) = (time(1_000), time(20_000));
    assert!(
        large < small * 100 + Duration::from_millis(500),
        "{small:?} {large:?}"
    );
}
